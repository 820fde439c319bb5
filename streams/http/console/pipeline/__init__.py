"""Workers, partitions, services, and the overview of them."""
