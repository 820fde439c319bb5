-- The engine forgets a row that is acknowledged, so an INSERT must return only when its part is on
-- disk. Without these settings a power loss takes the parts that are still in the page cache.
ALTER TABLE ${database}.m1_local
    MODIFY SETTING fsync_after_insert = 1, fsync_part_directory = 1;
ALTER TABLE ${database}.h1_local
    MODIFY SETTING fsync_after_insert = 1, fsync_part_directory = 1;
ALTER TABLE ${database}.d1_local
    MODIFY SETTING fsync_after_insert = 1, fsync_part_directory = 1;
ALTER TABLE ${database}.dead_letters_local
    MODIFY SETTING fsync_after_insert = 1, fsync_part_directory = 1;
ALTER TABLE ${database}.ledger_local
    MODIFY SETTING fsync_after_insert = 1, fsync_part_directory = 1;
ALTER TABLE ${database}.shed_ranges_local
    MODIFY SETTING fsync_after_insert = 1, fsync_part_directory = 1;
ALTER TABLE ${database}.simulations_local
    MODIFY SETTING fsync_after_insert = 1, fsync_part_directory = 1;
ALTER TABLE ${database}.training_runs_local
    MODIFY SETTING fsync_after_insert = 1, fsync_part_directory = 1;
ALTER TABLE ${database}.models_local
    MODIFY SETTING fsync_after_insert = 1, fsync_part_directory = 1;
