"""What the pipeline uses, what load is coming, and when something runs out."""
