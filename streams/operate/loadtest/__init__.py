"""Load tests: a file of flows, requests at the times that are due, and a judged report."""
