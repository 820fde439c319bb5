"""Services of a local stack that a test stops for a time."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streams.dev.local.stack import status

BACK_S = 200.0


@contextmanager
def absent(home: Path, *names: str) -> Iterator[None]:
    """Inside, the services are killed with SIGKILL and stay down; afterwards they serve again.

    Their supervisor, which would restart them at once, is suspended meanwhile.
    """
    before = status(home)
    victims = [service for service in before.services if service.name in names]
    assert len(victims) == len(names), f"{names} are not all of this stack"
    assert before.supervisor_pid is not None
    os.kill(before.supervisor_pid, signal.SIGSTOP)
    try:
        for victim in victims:
            assert victim.pid is not None
            os.kill(victim.pid, signal.SIGKILL)
        yield
    finally:
        os.kill(before.supervisor_pid, signal.SIGCONT)
    deadline = time.monotonic() + BACK_S
    while not _back(home, {victim.name: victim.starts for victim in victims}):
        assert time.monotonic() < deadline, f"{names} did not come back"
        time.sleep(0.1)


def _back(home: Path, starts: dict[str, int]) -> bool:
    found = {service.name: service for service in status(home).services}
    return all(found[name].starts > count and found[name].ready for name, count in starts.items())
