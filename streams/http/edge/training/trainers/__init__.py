"""What trainers and MLflow log, logged to dia as well (docs/training.md)."""
