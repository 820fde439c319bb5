"""Commits of a partition, and the delivery of their effects."""
