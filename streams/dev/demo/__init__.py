"""`dia demo`: the whole pipeline on real services, checked against its generator."""
