"""Sending events from files and pipes: lines in bounded blocks, a few blocks in flight."""
