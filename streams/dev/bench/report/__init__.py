"""Results: records, comparisons, and the report."""
