"""Streams and declared tables for the code of agents."""
