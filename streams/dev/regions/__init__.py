"""Two regions on one machine: one is lost at load, the other becomes active, and the lost one comes back."""
