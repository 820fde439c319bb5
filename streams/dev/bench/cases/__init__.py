"""What is measured of a pipeline, each on a stack of its own."""
