"""One partition's tables: how entries are kept, logged, stored and restored."""
