"""A new epoch for a partition that stopped."""
