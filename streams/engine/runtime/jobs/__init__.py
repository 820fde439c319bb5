"""Requests of job agents: read ahead, queued fairly, finished out of order."""
