"""The engine: apps, agents, tables and the runtime."""
