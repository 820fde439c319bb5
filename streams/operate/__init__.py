"""What an operator does: one module per action; the command line and HTTP are thin over it."""
