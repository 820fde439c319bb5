"""Regions: one pipeline in each, one of them active (docs/protocols/regions.md)."""
