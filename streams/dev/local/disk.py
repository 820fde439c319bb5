"""Checks free disk space before the start: a broker dies on a full disk."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from streams.core.errors import DependencyUnreachable

FREE_MIN_BYTES = 1 << 30


def free_bytes(folder: Path) -> int:
    """That this user may write below ``folder``."""
    return shutil.disk_usage(folder).free


def refuse_full(folder: Path, free: Callable[[Path], int] = free_bytes) -> None:
    """Raises `DependencyUnreachable` below `FREE_MIN_BYTES`."""
    left = free(folder)
    if left < FREE_MIN_BYTES:
        msg = (
            f"the disk of {folder} has {left >> 20} MiB left, the local stack needs "
            f"{FREE_MIN_BYTES >> 20} MiB. Free some space or name another --home, and run "
            "`dia up` again."
        )
        raise DependencyUnreachable(msg)
