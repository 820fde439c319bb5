"""CPU affinity: one core for the measured process, one for the rest."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple


class Cores(NamedTuple):
    """``rest`` for the broker and the bench."""

    measured: int
    rest: int


def one_each() -> Cores:
    """The same core twice on a machine with one."""
    cores = sorted(os.sched_getaffinity(0))
    return Cores(cores[0], cores[1 % len(cores)])


def pin(pid: int, core: int) -> None:
    for task in Path(f"/proc/{pid}/task").iterdir():
        # a thread may end between the listing and the call
        with suppress(ProcessLookupError):
            os.sched_setaffinity(int(task.name), {core})


@contextmanager
def born_on(core: int) -> Iterator[None]:
    """Children that this thread starts inside the block run on ``core``."""
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, mine)
