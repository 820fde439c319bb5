"""Rows of a day that move from shard to shard: protocol and both forms of the store."""
