"""Declarations of agents."""
