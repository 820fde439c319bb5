"""Which cores a process may use: peers and their broker get one each, whatever they are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple


class Cores(NamedTuple):
    """``measured`` is for what is measured, ``rest`` for the broker and the bench."""

    measured: int
    rest: int


def one_each() -> Cores:
    """The first two cores this process may use; on a machine with one, the same twice."""
    cores = sorted(os.sched_getaffinity(0))
    return Cores(cores[0], cores[1 % len(cores)])


def pin(pid: int, core: int) -> None:
    """Keep every thread of a running process on ``core``; those it starts later inherit it."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        # A thread may end between the listing and the call.
        with suppress(ProcessLookupError):
            os.sched_setaffinity(int(task.name), {core})


@contextmanager
def born_on(core: int) -> Iterator[None]:
    """Children started by this thread inside the block begin, and stay, on ``core``."""
    mine = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, mine)
