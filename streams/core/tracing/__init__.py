"""Traces of single events, from the edge to the row: sampled, and free where nobody asked for them."""
