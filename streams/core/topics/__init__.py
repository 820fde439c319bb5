"""Declared topics, and the declarations of one app."""
