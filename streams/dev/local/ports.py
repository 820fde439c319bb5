"""Free loopback ports, chosen once and kept."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Iterable, Iterator
from typing import Final

from streams.core.errors import DependencyUnreachable

LOOPBACK = "127.0.0.1"
FIRST_PORT, LAST_PORT = 19_000, 31_999
"""Below Linux' ephemeral range, so that no outgoing connection takes a port while the stack is
down."""

RELEASE_S: Final = 2.0
"""a killed server's main thread may end before the threads that still hold its sockets"""


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: connections in TIME_WAIT do not make a port busy.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def free_ports(count: int, taken: Iterable[int] = ()) -> list[int]:
    """None of ``taken``, from a random one on, so that concurrent stacks rarely collide. Raises
    `DependencyUnreachable`."""
    excluded = set(taken)
    found: list[int] = []
    for port in _from_random_start():
        if len(found) == count:
            return found
        if port not in excluded and is_free(port):
            found.append(port)
    msg = (
        f"fewer than {count} loopback ports are free between {FIRST_PORT} and {LAST_PORT}. "
        "Stop other servers on this machine and run `dia up` again."
    )
    raise DependencyUnreachable(msg)


def _from_random_start() -> Iterator[int]:
    width = LAST_PORT - FIRST_PORT + 1
    start = random.randrange(width)
    return (FIRST_PORT + (start + step) % width for step in range(width))


def refuse_busy(named: Iterable[tuple[str, int]], wait_s: float = RELEASE_S) -> None:
    """Raises `DependencyUnreachable` for the first port that is still in use after ``wait_s``."""
    deadline_s = time.monotonic() + wait_s
    for service, port in named:
        while not is_free(port):
            if time.monotonic() >= deadline_s:
                msg = (
                    f"port {port} of {service}, remembered from the last start, is used by another "
                    f"program. Stop that program, or run `dia up --new-ports` to take free ones."
                )
                raise DependencyUnreachable(msg)
            time.sleep(0.02)
