"""What a user declares: topics, agents, tables, windows and pages of one app."""
