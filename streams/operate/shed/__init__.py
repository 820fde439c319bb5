"""Skipping records by order."""
