"""One assigned partition: folding records, closing windows, pausing."""
