"""ClickHouse's HTTP protocol over one in-process chDB engine: the local stack's shard.

``python -m streams.dev.local.clickhouse_front --path DIR --port N --password-file F`` serves one
shard on loopback. Clients use it as a server.
"""
