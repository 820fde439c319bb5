"""One process on its host: its files, locks, memory, listeners and children."""
