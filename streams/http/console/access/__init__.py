"""Who may see and do what: sessions, tokens, and the record of operations."""
