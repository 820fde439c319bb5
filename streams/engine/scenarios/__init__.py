"""What a simulation computes: seeded, vectorised models, one file each.

Nothing here reads a clock, a file or a network: a scenario is a function of its parameters, its
random generator and the history it was given, so that running it again gives the same summary.
"""
