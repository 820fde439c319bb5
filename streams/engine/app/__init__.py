"""Declaration of an app: topics, agents, tables, windows and pages."""
