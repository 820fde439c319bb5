"""Reads dead letters: their content, their reason, and whether they would pass today."""
