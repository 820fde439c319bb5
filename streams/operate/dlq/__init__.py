"""Reading dead letters: what lies in a DLQ topic, why, and whether it would pass now."""
