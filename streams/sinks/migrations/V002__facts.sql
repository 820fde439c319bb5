-- What was set aside, and where every partition stands. Idempotent by key and ver.

-- One row per dead letter; each disposition (replayed, parked, dropped) replaces it whole, with
-- ver = 1 + the number of dispositions. ts is the record's own and never changes.
CREATE TABLE IF NOT EXISTS ${database}.dead_letters_local
(
    id String,
    topic LowCardinality(String),
    part UInt32,
    off UInt64,
    ts DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    error_code LowCardinality(String),
    error_message String CODEC(ZSTD(3)),
    stage LowCardinality(String),
    agent LowCardinality(String),
    tenant LowCardinality(String),
    hops UInt16,
    disposition LowCardinality(String),
    actor LowCardinality(String),
    ver UInt64,
    at DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(ZSTD(1))
)
ENGINE = ${engine_dead_letters_local}
ORDER BY (topic, part, off, id)
TTL toDateTime(at) + INTERVAL 400 DAY DELETE;

-- Cumulative counters of one partition of one group, in one epoch (`dia tables reset` opens the
-- next): next_offset - start = read + gaps. One row an epoch and no history: which offsets a
-- difference lies at is found by reading them again (`dia audit --deep`), not by comparing counters.
CREATE TABLE IF NOT EXISTS ${database}.ledger_local
(
    grp LowCardinality(String),
    topic LowCardinality(String),
    part UInt32,
    next_offset UInt64,
    read UInt64,
    applied UInt64,
    duplicates UInt64,
    dead UInt64,
    gaps UInt64,
    dead_by_code Map(LowCardinality(String), UInt64),
    ver UInt64,
    at DateTime64(3, 'UTC') DEFAULT now64(3),
    epoch UInt32
)
ENGINE = ${engine_ledger_local}
ORDER BY (grp, topic, part, epoch);
