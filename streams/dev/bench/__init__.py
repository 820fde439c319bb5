"""`dia bench`: speed of the pipeline on this machine, of exact runs only."""
