"""`dia bench`: how fast the pipeline is on this machine, and never without proof that it is exact."""
