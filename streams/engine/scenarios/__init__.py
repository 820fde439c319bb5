"""The simulations: seeded, vectorised models, one file each.

A scenario reads no clock, file or network. It is a function of its parameters, random generator and
history, so a second run gives the same summary.
"""
