"""Windowed tables and their rows."""
