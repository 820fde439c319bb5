"""lz4 at its fast level.

aiokafka compresses lz4 at level 9, a search that costs 3.6 µs of CPU a 208-byte JSON record
where level 1 costs 0.3 µs and 37 % more bytes: more than everything else a send does.
Producers take no level, so the default argument of the one function they call is changed.
"""

from __future__ import annotations

from aiokafka import codec

FAST_LEVEL = 1


def use_fast_lz4() -> None:
    """Compress lz4 batches of this process at `FAST_LEVEL`. Calling again changes nothing."""
    codec.lz4_encode.__defaults__ = (FAST_LEVEL,)
