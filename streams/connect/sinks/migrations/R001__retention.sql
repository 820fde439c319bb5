-- How long minutes are kept is a setting, so this runs again whenever it changes.
ALTER TABLE ${database}.m1_local MODIFY TTL w + INTERVAL ${m1_retention_days} DAY DELETE;
