"""Errors, types, rows, topics, settings, telemetry. Imports no other package of `streams`."""
