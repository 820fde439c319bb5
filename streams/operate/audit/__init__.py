"""`dia audit`: compares independent counts of the same records: ledger, committed offsets, rows,
dead letters and, in a deep audit, the source log."""
