"""The tables that the built-in app declares."""
