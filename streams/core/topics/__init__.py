"""Topics as they are declared, and all that one app declares together."""
