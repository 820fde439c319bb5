"""Compares declared topics with the broker's, and creates them."""
