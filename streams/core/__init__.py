"""What every room knows: errors, types, rows, topics, settings, telemetry. Imports no other room."""
