"""The whole engine in one process, on one virtual clock: for tests, and for finding the crash
that breaks it."""
