"""Opens a new epoch for a stopped partition."""
