"""Shard maps: the servers' record of them, and one more shard."""
