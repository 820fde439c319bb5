"""From a fetched record to a committed row: apps, agents, tables and the runtime."""
