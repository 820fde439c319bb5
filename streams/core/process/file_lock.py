"""A file lock that the kernel releases when its holder dies."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

RETRY_INTERVAL_S = 0.05


@contextmanager
def exclusive(path: Path, timeout_s: float, waiting: Callable[[], None]) -> Iterator[None]:
    """Calls ``waiting`` if the lock is taken. Raises `TimeoutError` after ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    told = False
    while (file := hold(path)) is None:
        if not told:
            waiting()
            told = True
        if time.monotonic() >= deadline:
            raise TimeoutError(f"{path} is held by another process")
        time.sleep(RETRY_INTERVAL_S)
    with file:
        yield


def is_held(path: Path) -> bool:
    """By another holder, in any process."""
    try:
        with exclusive(path, timeout_s=0, waiting=lambda: None):
            return False
    except TimeoutError:
        return True


def hold(path: Path) -> IO[str] | None:
    """Until closed; None while another holder has it."""
    # Append mode keeps the content, which another holder may have written.
    file = path.open("a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file
