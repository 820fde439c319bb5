"""From a changelog and a store to a partition's committed state."""
