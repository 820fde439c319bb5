"""Who may ask an HTTP surface of dia for what, how often, and from where."""
