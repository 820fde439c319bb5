"""Restores a partition's committed state from its changelog and store."""
