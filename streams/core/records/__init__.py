"""Records without their topic: headers, values, and defects."""
