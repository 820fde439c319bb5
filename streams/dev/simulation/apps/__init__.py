"""Simulates any app."""
