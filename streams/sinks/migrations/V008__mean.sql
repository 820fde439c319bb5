-- Mean, and sum of squared deviations from it: sqrt(s2 / n - mean^2) has no digit left where the mean
-- is much larger than the standard deviation. See streams/deviations.py.
ALTER TABLE ${database}.m1_local
    ADD COLUMN IF NOT EXISTS mean Float64 DEFAULT s1 / n CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS m2 Float64 DEFAULT greatest(0, s2 - s1 * s1 / n) CODEC(ZSTD(1));
ALTER TABLE ${database}.h1_local
    ADD COLUMN IF NOT EXISTS mean Float64 DEFAULT s1 / n CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS m2 Float64 DEFAULT greatest(0, s2 - s1 * s1 / n) CODEC(ZSTD(1));
ALTER TABLE ${database}.d1_local
    ADD COLUMN IF NOT EXISTS mean Float64 DEFAULT s1 / n CODEC(ZSTD(1)),
    ADD COLUMN IF NOT EXISTS m2 Float64 DEFAULT greatest(0, s2 - s1 * s1 / n) CODEC(ZSTD(1));
