"""Decisions on dead letters: replay, park or discard, each exactly once and journaled."""
