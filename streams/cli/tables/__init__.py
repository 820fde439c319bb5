"""`dia tables`: state of partitions, and their outboxes."""
