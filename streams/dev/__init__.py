"""Making, measuring and testing a pipeline: never part of a worker's image."""
