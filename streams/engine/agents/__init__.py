"""The kinds of agents as they are declared."""
