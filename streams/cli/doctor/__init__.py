"""`dia doctor` and its checks."""
