-- The names people query: every shard's rows, exact without FINAL (a view ignores a FINAL that is
-- put on it in silence, so it is inside). What they read from is decided by where the shards are.
${distributed_tables}
CREATE OR REPLACE VIEW ${database}.m1 AS SELECT * FROM (${rows_m1});

CREATE OR REPLACE VIEW ${database}.h1 AS SELECT * FROM (${rows_h1});

CREATE OR REPLACE VIEW ${database}.d1 AS SELECT * FROM (${rows_d1});

CREATE OR REPLACE VIEW ${database}.dead_letters AS SELECT * FROM (${rows_dead_letters});

CREATE OR REPLACE VIEW ${database}.ledger AS SELECT * FROM (${rows_ledger});

CREATE OR REPLACE VIEW ${database}.shed_ranges AS SELECT * FROM (${rows_shed_ranges});

CREATE OR REPLACE VIEW ${database}.simulations AS SELECT * FROM (${rows_simulations});

CREATE OR REPLACE VIEW ${database}.training_runs AS SELECT * FROM (${rows_training_runs});

CREATE OR REPLACE VIEW ${database}.models AS SELECT * FROM (${rows_models});
