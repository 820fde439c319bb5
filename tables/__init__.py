"""What is remembered: one partition's tables, and how they are written and restored."""
