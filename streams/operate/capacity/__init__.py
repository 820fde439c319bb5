"""What load is coming, and what it needs (docs/capacity.md)."""
