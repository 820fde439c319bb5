"""Jobs of the pool contract: text in, text out."""

from __future__ import annotations

import os
import signal
import time


def perform(job: bytes) -> bytes:
    """``echo TEXT``, ``raise TEXT``, ``memory BYTES``, ``pid``, ``print TEXT``, ``die``,
    ``spin SECONDS``."""
    verb, _, rest = job.decode().partition(" ")
    match verb:
        case "raise":
            raise ValueError(rest)
        case "memory":
            return str(len(_allocate(int(rest)))).encode()
        case "pid":
            return str(os.getpid()).encode()
        case "print":
            print(rest)  # noqa: T201 - what the test is about
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "spin":
            time.sleep(float(rest))
    return rest.encode()


def _allocate(size_bytes: int) -> bytes:
    if os.environ.get("POOL_INLINE"):
        raise MemoryError
    return bytes(size_bytes)
