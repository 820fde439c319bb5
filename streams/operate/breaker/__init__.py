"""Letting partitions that the poison breaker stopped go on."""
