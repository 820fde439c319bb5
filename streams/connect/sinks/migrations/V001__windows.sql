-- Minute, hour and day windows. A row is the full state of one incarnation (part, inc) of a
-- window at version ver: inserting it again, or after a newer one, changes nothing. The engine
-- forgets a row that is acknowledged, so an INSERT returns only when its part is on disk (fsync).
-- sqrt(s2 / n - mean^2) has no digit left where the mean is much larger than the standard deviation:
-- hence mean and m2 (streams/deviations.py).
CREATE TABLE IF NOT EXISTS ${database}.m1_local
(
    tenant LowCardinality(String),
    model LowCardinality(String),
    metric LowCardinality(String),
    w DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)),           -- start of the window
    part UInt32 CODEC(T64, ZSTD(1)),                         -- source partition
    inc UInt64 CODEC(ZSTD(1)),                               -- incarnation of the window there
    n UInt64 CODEC(T64, ZSTD(1)),                            -- count
    s1 Float64 CODEC(ZSTD(1)),                               -- sum
    s2 Float64 CODEC(ZSTD(1)),                               -- sum of squares
    lo Float64 CODEC(ZSTD(1)),                               -- smallest
    hi Float64 CODEC(ZSTD(1)),                               -- largest
    lv Float64 CODEC(ZSTD(1)),                               -- last value
    lt DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),     -- and its time
    sk_k Array(Int16) CODEC(Delta(2), ZSTD(1)),              -- sketch: codes, ascending
    sk_n Array(UInt32) CODEC(T64, ZSTD(1)),                  -- and how many values have each
    ver UInt64 CODEC(DoubleDelta, ZSTD(1)),
    at DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(ZSTD(1)), -- when the row was inserted
    mean Float64 CODEC(ZSTD(1)),
    m2 Float64 CODEC(ZSTD(1)),                               -- sum of squared deviations from it
    moved UInt32 CODEC(ZSTD(1)),                             -- the move that placed or brought it
    CONSTRAINT sketch_columns_agree CHECK length(sk_k) = length(sk_n)
)
ENGINE = ${engine_m1_local}
PARTITION BY toYYYYMMDD(w)
ORDER BY (tenant, model, metric, w, part, inc, moved)
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1;

-- Hours: recomputed from minutes under part = inc = 0; a window too old for m1 comes under its own.
-- A busy hour may hold more than 2**32 values of one code.
CREATE TABLE IF NOT EXISTS ${database}.h1_local
(
    tenant LowCardinality(String),
    model LowCardinality(String),
    metric LowCardinality(String),
    w DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)),
    part UInt32 CODEC(T64, ZSTD(1)),
    inc UInt64 CODEC(ZSTD(1)),
    n UInt64 CODEC(T64, ZSTD(1)),
    s1 Float64 CODEC(ZSTD(1)),
    s2 Float64 CODEC(ZSTD(1)),
    lo Float64 CODEC(ZSTD(1)),
    hi Float64 CODEC(ZSTD(1)),
    lv Float64 CODEC(ZSTD(1)),
    lt DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    sk_k Array(Int16) CODEC(Delta(2), ZSTD(1)),
    sk_n Array(UInt64) CODEC(T64, ZSTD(1)),
    ver UInt64 CODEC(DoubleDelta, ZSTD(1)),
    at DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(ZSTD(1)),
    mean Float64 CODEC(ZSTD(1)),
    m2 Float64 CODEC(ZSTD(1)),
    moved UInt32 CODEC(ZSTD(1)),
    CONSTRAINT sketch_columns_agree CHECK length(sk_k) = length(sk_n)
)
ENGINE = ${engine_h1_local}
PARTITION BY toYYYYMM(w)
ORDER BY (tenant, model, metric, w, part, inc, moved)
TTL w + INTERVAL 400 DAY DELETE
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS ${database}.d1_local
(
    tenant LowCardinality(String),
    model LowCardinality(String),
    metric LowCardinality(String),
    w DateTime('UTC') CODEC(DoubleDelta, ZSTD(1)),
    part UInt32 CODEC(T64, ZSTD(1)),
    inc UInt64 CODEC(ZSTD(1)),
    n UInt64 CODEC(T64, ZSTD(1)),
    s1 Float64 CODEC(ZSTD(1)),
    s2 Float64 CODEC(ZSTD(1)),
    lo Float64 CODEC(ZSTD(1)),
    hi Float64 CODEC(ZSTD(1)),
    lv Float64 CODEC(ZSTD(1)),
    lt DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    sk_k Array(Int16) CODEC(Delta(2), ZSTD(1)),
    sk_n Array(UInt64) CODEC(T64, ZSTD(1)),
    ver UInt64 CODEC(DoubleDelta, ZSTD(1)),
    at DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(ZSTD(1)),
    mean Float64 CODEC(ZSTD(1)),
    m2 Float64 CODEC(ZSTD(1)),
    moved UInt32 CODEC(ZSTD(1)),
    CONSTRAINT sketch_columns_agree CHECK length(sk_k) = length(sk_n)
)
ENGINE = ${engine_d1_local}
PARTITION BY toYear(w)
ORDER BY (tenant, model, metric, w, part, inc, moved)
TTL w + INTERVAL 5 YEAR DELETE
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1;
