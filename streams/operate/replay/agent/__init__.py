"""The replay agent and its policies."""
