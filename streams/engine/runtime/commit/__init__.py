"""Committing a partition, and handing over what the commit owes."""
