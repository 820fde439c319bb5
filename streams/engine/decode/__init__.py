"""Decodes fetched batches into events and dead letters."""
