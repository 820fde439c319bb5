"""The schema registry of a process: schemas in memory, asked for over HTTP, behind a breaker."""
