"""Resets the poison breaker of stopped partitions."""
