"""Drills of the ways out of a loss, on copies (docs/protocols/backup.md)."""
