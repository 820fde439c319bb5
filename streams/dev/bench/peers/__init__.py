"""dia and its alternatives on one topic, one core each."""
