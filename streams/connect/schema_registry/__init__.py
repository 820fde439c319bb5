"""The schema registry client of a process: schemas in memory, requests over HTTP behind a
breaker."""
