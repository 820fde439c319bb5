"""The events that a partition has seen."""
