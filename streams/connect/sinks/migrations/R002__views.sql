-- The names people query: every shard's rows, exact without FINAL (a view ignores a FINAL that is
-- put on it in silence, so it is inside). What they read from is decided by where the shards are.
${distributed_tables}
${views}
