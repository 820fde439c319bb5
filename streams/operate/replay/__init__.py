"""Dead letters decided on: replayed, parked or discarded, each exactly once and for the record."""
