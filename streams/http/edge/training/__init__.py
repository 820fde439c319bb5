"""Metrics of training code, sent by a process of its own (docs/training.md)."""
