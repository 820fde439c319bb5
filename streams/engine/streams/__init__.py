"""Streams and declared tables as the code of a stream agent uses them."""
