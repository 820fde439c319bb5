"""Limits the effect of one failing dependency."""
