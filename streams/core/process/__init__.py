"""A process on its host: files, locks, memory, listeners and children."""
