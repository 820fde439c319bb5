"""Sends events from files and pipes, in bounded blocks with a few in flight."""
