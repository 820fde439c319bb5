"""What became of an event: its record, verdict, commit, windows, rows, dead letter and replays."""
