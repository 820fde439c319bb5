"""From the bytes of a fetched batch to events and dead letters."""
