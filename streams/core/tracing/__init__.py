"""Traces of sampled events, from the edge to the row."""
