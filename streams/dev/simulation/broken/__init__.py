"""Broken variants of the engine, which the simulation must catch."""
