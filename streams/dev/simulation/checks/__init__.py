"""What must hold, from the logs alone."""
