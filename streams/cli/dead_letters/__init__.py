"""`dia dlq`: dead letters read, decided upon, and the breaker that bad records open."""
