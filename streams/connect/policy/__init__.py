"""Policies of simulations, from a policy service or a file."""
