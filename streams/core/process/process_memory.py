"""Memory of a worker process: rare collections, large blocks returned, and the limit.

State is in arrays of megabytes that grow by copying. glibc raises its mmap threshold to 32 MiB and
keeps freed blocks: 540 bytes per window instead of 320. A fixed threshold returns large blocks at
once.

Smaller blocks come and go with each fetch and batch. With a fixed mmap threshold, glibc also
returns the free end of the heap whenever it exceeds 128 KiB, and the kernel clears each page that
the next block takes. So `settle` keeps `_TRIM_THRESHOLD_BYTES` of it."""

from __future__ import annotations

import ctypes
import gc
import os
from functools import cache
from pathlib import Path

GC_THRESHOLDS = (200_000, 50, 100)
"""State has few reference cycles; rare collections save a quarter of a worker's time."""

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
MMAP_THRESHOLD_BYTES = 4 << 20
"""a block of this size is returned at once"""
_TRIM_THRESHOLD_BYTES = 32 << 20


def settle() -> None:
    """Call once, after imports and construction. Skips both thresholds without glibc."""
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD_BYTES)


_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")
"""control group files of a container: version 2 and version 1"""


@cache
def limit_bytes(control_group: Path = Path("/sys/fs/cgroup")) -> int:
    """The container's memory limit, else the machine's memory."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in _LIMITS:
        try:
            text = (control_group / name).read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            return min(machine, int(text))
    return machine
