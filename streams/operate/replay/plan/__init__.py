"""Plans: which dead letters, with which repairs."""
