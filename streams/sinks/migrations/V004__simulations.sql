-- One row per request and what came of it. A repeat of a key has a row of its own, with the summary
-- of the run it repeats. requested is the append time of the request; started and finished are the
-- run's. Decided once and never changed: ver only tells a repeated insert from a newer epoch.
CREATE TABLE IF NOT EXISTS ${database}.simulations_local
(
    tenant LowCardinality(String),
    idempotency_key String,
    request_id String,
    model LowCardinality(String),
    policy LowCardinality(String),
    scenario LowCardinality(String),
    priority UInt8,
    trials UInt64,
    status LowCardinality(String),
    repeated UInt8,
    error_code LowCardinality(String),
    error_message String CODEC(ZSTD(3)),
    summary String CODEC(ZSTD(3)),
    requested DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    started DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    finished DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    part UInt32,
    off UInt64,
    ver UInt64,
    at DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(ZSTD(1))
)
ENGINE = ${engine_simulations_local}
ORDER BY (tenant, idempotency_key, request_id, part, off)
TTL toDateTime(at) + INTERVAL 400 DAY DELETE;
