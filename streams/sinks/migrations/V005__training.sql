-- What happened to models: one row per result, decided once (ver only tells a repeated insert from a
-- newer epoch), and one row per model, its newest card, which ver orders.
CREATE TABLE IF NOT EXISTS ${database}.training_runs_local
(
    tenant LowCardinality(String),
    model LowCardinality(String),
    version String,
    run String,
    result_id String,
    event LowCardinality(String),
    alias LowCardinality(String),
    stage LowCardinality(String),
    metrics Map(LowCardinality(String), Float64) CODEC(ZSTD(3)),
    ts DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    part UInt32,
    off UInt64,
    ver UInt64,
    at DateTime64(3, 'UTC') DEFAULT now64(3) CODEC(ZSTD(1))
)
ENGINE = ${engine_training_runs_local}
ORDER BY (tenant, model, part, off)
TTL toDateTime(at) + INTERVAL 1825 DAY DELETE;

CREATE TABLE IF NOT EXISTS ${database}.models_local
(
    tenant LowCardinality(String),
    model LowCardinality(String),
    card String CODEC(ZSTD(3)),
    ver UInt64,
    at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ${engine_models_local}
ORDER BY (tenant, model);
