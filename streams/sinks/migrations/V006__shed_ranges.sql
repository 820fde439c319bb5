-- Offsets that an operator had skipped (`dia shed`), so that nobody takes them for lost: one row per
-- order and partition, decided once (ver only tells a repeated insert from a newer epoch).
-- to_offset is the first one that was not skipped; cutoff is the append time the range ends at.
ALTER TABLE ${database}.ledger_local ADD COLUMN IF NOT EXISTS shed UInt64 DEFAULT 0;

CREATE TABLE IF NOT EXISTS ${database}.shed_ranges_local
(
    grp LowCardinality(String),
    topic LowCardinality(String),
    part UInt32,
    epoch UInt32,
    from_offset UInt64,
    to_offset UInt64,
    shed UInt64,
    order_id String,
    actor String,
    reason String,
    cutoff DateTime64(3, 'UTC'),
    ordered DateTime64(3, 'UTC'),
    ver UInt64,
    at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ${engine_shed_ranges_local}
ORDER BY (grp, topic, part, epoch, from_offset);
