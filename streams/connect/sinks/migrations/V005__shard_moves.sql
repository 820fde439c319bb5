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
-- What operators order and movers tell, as JSON, on the first server; no step of a move depends on it.
CREATE TABLE IF NOT EXISTS ${database}.shard_move_notes_local
(
    version UInt32,
    name LowCardinality(String),
    note String,
    at DateTime64(6, 'UTC') DEFAULT now64(6)
)
ENGINE = ReplacingMergeTree(at)
ORDER BY (version, name)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
