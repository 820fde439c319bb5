"""Shed orders: skip records without processing them."""
