"""Aggregators of windows: what each one remembers of a window, how two states merge, which columns
its rows have."""
