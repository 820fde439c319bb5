"""Compares the workers of a new version with the others (docs/protocols/canary.md)."""
