"""Minute windows of series, which late records reopen."""
