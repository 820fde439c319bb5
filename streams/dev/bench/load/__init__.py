"""Events of a measurement: a filled topic, or a constant rate."""
