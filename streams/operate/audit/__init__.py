"""`dia audit`: compares independent counts of the same records and reports differences.

The sources are the ledger, the group's committed offsets, the rows, the dead letters in Kafka and
in ClickHouse and, in a deep audit, the source log, evaluated again record by record.
"""
