"""Runs a plan: P1 to P8."""
