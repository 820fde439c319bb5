"""The whole engine in one process, on one virtual clock, with injected faults."""
