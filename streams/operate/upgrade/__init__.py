"""Compares a version with the state, topics and tables that another one has made."""
