"""What commands write to a terminal, and what they ask there."""
