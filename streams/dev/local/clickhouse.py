"""A ClickHouse shard: the engine of the wheel chdb behind `streams.dev.local.clickhouse_front`."""

from __future__ import annotations

import sys
from functools import partial

from streams.dev.local.folder import StackFolder
from streams.dev.local.plan import CLICKHOUSE_DATABASE, CLICKHOUSE_USER, StackPlan
from streams.dev.local.probes import clickhouse_serves
from streams.dev.local.service import Service

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0


def service(folder: StackFolder, plan: StackPlan, index: int) -> Service:
    """Shard ``index`` of the plan, in a process of its own."""
    port, name = plan.shard_ports[index], f"clickhouse-{index}"
    options = {
        # From the folder it runs in: chDB takes a "?" in a path for the begin of its options.
        "path": f"../{folder.shard(index).name}",
        "port": str(port),
        "user": CLICKHOUSE_USER,
        "password-file": str(folder.password),
        "database": CLICKHOUSE_DATABASE,
        "log": str(folder.log(name)),
    }
    flags = [word for option, value in options.items() for word in (f"--{option}", value)]
    return Service(
        name=name,
        address=plan.shard_urls[index],
        # -P: the folder a child starts in must not shadow its imports.
        argv=(sys.executable, "-P", "-m", "streams.dev.local.clickhouse_front", *flags),
        log=folder.log(name),
        serves=partial(clickhouse_serves, port),
        stop_rank=0,
        ready_timeout_s=READY_TIMEOUT_S,
        stop_timeout_s=STOP_TIMEOUT_S,
    )
