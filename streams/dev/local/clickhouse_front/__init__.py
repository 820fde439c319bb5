"""ClickHouse's HTTP protocol over one in-process chDB engine: the local stack's shard, on
loopback."""
