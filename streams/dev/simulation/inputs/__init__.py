"""Scenarios, and the records that they send."""
