"""Which events a partition has seen."""
