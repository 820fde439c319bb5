"""Traces of single events, from the edge to the row: sampled, and without cost where tracing is off."""
