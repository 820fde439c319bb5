"""Tables of one partition: memory, changelog, store and restore."""
