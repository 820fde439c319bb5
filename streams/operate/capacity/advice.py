"""How many workers a forecast needs."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.operate.capacity.forecast import Floats

MARGIN: Final = 1.3
"""Over the top of the band: an hour has busier minutes, and a worker that restarts catches up."""


def workers_for(
    per_hour: Floats, worker_per_s: float, *, least: int = 1, most: int, margin: float = MARGIN
) -> NDArray[np.int64]:
    """Workers of each hour. ``per_hour``: events, the top of the band. ``worker_per_s``: events a
    second that one worker holds. The answer is at most ``most``, the partitions of the source: more
    workers would have none."""
    needed = np.ceil(per_hour * margin / 3600 / worker_per_s)
    return np.clip(needed, least, max(least, most)).astype(np.int64)
