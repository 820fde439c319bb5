"""`dia audit`: what every party says of the same records, and where two of them disagree.

The parties are the ledger, the group's committed offsets, the rows, the dead letters in Kafka
and in ClickHouse and, in a deep audit, the source log itself, judged record by record anew.
"""
