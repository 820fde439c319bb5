-- The shard maps of this installation, in their order (docs/protocols/shard_maps.md). A map is
-- announced to every server before any server says that it is in force. Only in_force ever changes,
-- and only the record of a map that is nowhere in force is deleted. Each replica says its own.
CREATE TABLE IF NOT EXISTS ${database}.shard_maps_local
(
    version UInt32,
    digest String,
    map String,
    in_force UInt8,
    at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(in_force)
ORDER BY (version, digest)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1;
