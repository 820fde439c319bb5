"""Free space of a folder, and whether it can be written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from streams.core.degradation.level import FINE, Level, Reading


def room_reading(
    folder: Path, free_min_bytes: int, *, writable: Callable[[], bool] = lambda: True
) -> Callable[[], Reading]:
    """Level 3 when ``folder`` is not ``writable`` or has less than ``free_min_bytes``, level 1
    below twice that. Unknown free space counts as not writable."""

    def read() -> Reading:
        if not writable():
            return Reading(Level.MINIMAL, f"{folder} cannot be written: see the log")
        if not free_min_bytes:
            return FINE
        try:
            free_bytes = shutil.disk_usage(folder).free
        except OSError as error:
            return Reading(Level.MINIMAL, f"the room in {folder} is unknown: {error.strerror}")
        if free_bytes < free_min_bytes:
            return Reading(Level.MINIMAL, _short(folder, free_bytes))
        if free_bytes < 2 * free_min_bytes:
            return Reading(Level.DEGRADED, _short(folder, free_bytes))
        return FINE

    return read


def _short(folder: Path, free_bytes: int) -> str:
    return f"{folder} has {free_bytes >> 20} MiB left (DIA_STATE_FREE_MIN_BYTES)"
