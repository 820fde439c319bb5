"""Operators who replay dead letters and shed records."""
