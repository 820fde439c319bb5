"""The engine alone, by the size of its state."""
