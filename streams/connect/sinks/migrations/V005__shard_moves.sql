-- Moved days (docs/protocols/shard_moves.md).
-- How far the days of each move are. A state only rises. The table is not replicated: each replica
-- says its own.
CREATE TABLE IF NOT EXISTS ${database}.shard_moves_local
(
    version UInt32,
    day UInt32,
    state UInt8,
    at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(state)
ORDER BY (version, day)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
