"""Names, times and arguments as people write them."""
