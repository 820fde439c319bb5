-- A reset may read other records at the same offsets: their facts stand beside the old ones.
ALTER TABLE ${database}.training_runs_local
    ADD COLUMN IF NOT EXISTS epoch UInt32, MODIFY ORDER BY (tenant, model, part, off, epoch);
ALTER TABLE ${database}.simulations_local
    ADD COLUMN IF NOT EXISTS epoch UInt32,
    MODIFY ORDER BY (tenant, idempotency_key, request_id, part, off, epoch);
