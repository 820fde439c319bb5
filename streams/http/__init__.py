"""The HTTP surfaces: the edge takes events in, the console shows the pipeline."""
