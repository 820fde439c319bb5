"""The scheduled drill: runs `dia drill shard` in its own process, as the backup does.

The records beside the backups say which drill is due: so one that was made by hand counts, and one
that failed is tried again after `LOOK_INTERVAL_S`. A drill of a region takes two stacks of its own, and one
of a replica the disk of a server that has all rows already, so an operator runs them; here only their ages are
shown.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import msgspec

from streams.core.clock import Clock
from streams.core.errors import JobProcessFailed
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics
from streams.engine.schedule.job import Findings, ScheduledJob, age_s
from streams.engine.schedule.ledger_audit import environment, output_of, why

NAME = "drill"
LOOK_INTERVAL_S = 3600.0
PROCEDURES = ("shard", "backup", "region", "replica")


def scheduled_drill(settings: Settings, clock: Clock, metrics: Metrics) -> ScheduledJob:
    command = [sys.executable, "-m", "streams", "--json", "--quiet", "drill", "shard", "--if-due"]

    never = {
        "region": not settings.region,
        "replica": all(len(replicas) < 2 for replicas in settings.shards()),
    }

    async def work(run: int) -> Findings:
        return read_drilled(*await output_of(command, environment(settings)))

    def show(result: Findings | None, leads: bool) -> None:
        newest_ms = result.detail if result is not None else {}

        def age(procedure: str) -> float:
            if not leads or never.get(procedure, False):
                return 0.0
            return age_s(clock.now_ms(), newest_ms.get(procedure))

        for one in PROCEDURES:
            metrics.schedule.drill_age.labels(one).set_function(partial(age, one))

    return ScheduledJob(
        name=NAME,
        interval_s=LOOK_INTERVAL_S,
        timeout_s=2 * settings.backup_timeout_s,
        work=work,
        show=show,
    )


def read_drilled(code: int, said: bytes, complained: bytes) -> Findings:
    """When the last good drill of each procedure began, as `dia drill shard --json` says. Raises
    `JobProcessFailed` if it did not complete."""
    try:
        report: dict[str, Any] = msgspec.json.decode(said) if not code else {}
        newest_ms = {one: report["newest_ms"][one] for one in PROCEDURES}
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise JobProcessFailed(why("dia drill shard", code, complained)) from error
    return Findings(0, newest_ms)
