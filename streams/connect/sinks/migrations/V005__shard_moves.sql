-- Moved days (docs/protocols/shard_moves.md). ``moved`` names the move that brought a row to this
-- server, and the shard it came from; 0: it was written here.
ALTER TABLE ${database}.m1_local ADD COLUMN IF NOT EXISTS moved UInt32 DEFAULT 0 CODEC(ZSTD(1));
ALTER TABLE ${database}.h1_local ADD COLUMN IF NOT EXISTS moved UInt32 DEFAULT 0 CODEC(ZSTD(1));
ALTER TABLE ${database}.d1_local ADD COLUMN IF NOT EXISTS moved UInt32 DEFAULT 0 CODEC(ZSTD(1));
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
