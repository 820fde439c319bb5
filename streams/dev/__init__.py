"""Generates load for, measures and tests a pipeline. Not in a worker's image."""
