"""How a worker's process keeps its memory, and how much it may have.

Few collections, and large blocks given back.

State lives in arrays of megabytes that grow by being copied. glibc keeps such blocks for itself
once one was freed (it raises its mmap threshold to 32 MiB as it learns), which more than doubled
the memory of a million windows: 540 bytes each where 320 are in use. A fixed threshold returns
every large block at once, and costs nothing that could be measured.
"""

from __future__ import annotations

import ctypes
import gc
import os
from functools import cache
from pathlib import Path

GC_THRESHOLDS = (200_000, 50, 100)
"""State lives in arrays and interned strings, with few cycles to find: collecting rarely is
worth a quarter of a worker's time."""

_M_MMAP_THRESHOLD = -3
_MMAP_THRESHOLD_BYTES = 2 << 20


def settle() -> None:
    """Once, when all is imported and built. Where there is no glibc its part is left out."""
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES)


_LIMITS = ("memory.max", "memory/memory.limit_in_bytes")
"""Of the control group of a container: version 2 and version 1."""


@cache
def limit_bytes(control_group: Path = Path("/sys/fs/cgroup")) -> int:
    """What this process may use: its container's limit, else the machine's memory."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in _LIMITS:
        try:
            text = (control_group / name).read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            return min(machine, int(text))
    return machine
