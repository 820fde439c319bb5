"""Effects of commits outside Kafka: rows, cached values, dead letters."""
