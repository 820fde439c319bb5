"""Folds the source log again and replaces the rows of windows (docs/protocols/rebuild.md)."""
