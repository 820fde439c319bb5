"""Windowed tables and the rows that they emit."""
