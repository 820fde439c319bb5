"""Requests of job agents: read ahead, queued by tenant, finished out of order."""
