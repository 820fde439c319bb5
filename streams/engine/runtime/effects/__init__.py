"""What a commit owes outside Kafka: rows, cached values, dead letters."""
