"""Windows with aggregators: fixed ones, by panes, and sessions."""
