"""Aggregators of windows: states, merges and columns."""
