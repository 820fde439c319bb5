-- Which shard this server holds, and of which shard map: written at its first use, never changed.
-- Rows of series are placed by the map, so a client with another map counts them twice. The table is
-- not replicated: each replica says its own.
CREATE TABLE IF NOT EXISTS ${database}.shard_map_local
(
    shard UInt32,
    digest String,
    description String,
    at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree
ORDER BY (shard, digest)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
