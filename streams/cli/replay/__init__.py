"""`dia replay`, and the process of the replay agent."""
