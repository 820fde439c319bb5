"""`dia demo`: the whole pipeline on real parts, checked event by event against its generator."""
