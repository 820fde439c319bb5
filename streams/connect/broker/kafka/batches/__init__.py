"""Fetched record batches as columns, within bounds."""
