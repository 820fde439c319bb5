"""Decisions on dead letters, and their single writer."""
