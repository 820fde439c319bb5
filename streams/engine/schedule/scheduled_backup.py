"""The scheduled backup: runs `dia backup` in its own process, as the audit does.

Which backup is due, the destination says and not the schedule: so a backup that was made by hand
counts, one that failed is tried again after `LOOK_INTERVAL_S`, and a new leader repeats none.
"""

from __future__ import annotations

import sys
from typing import Any

import msgspec

from streams.core.clock import Clock
from streams.core.errors import JobProcessFailed
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics
from streams.engine.schedule.job import Findings, ScheduledJob, age_s
from streams.engine.schedule.ledger_audit import environment, output_of, why

NAME = "backup"
LOOK_INTERVAL_S = 900.0
_SLACK_S = 600.0


def scheduled_backup(settings: Settings, clock: Clock, metrics: Metrics) -> ScheduledJob:
    dia = [sys.executable, "-m", "streams", "--json", "--quiet", "backup"]

    async def work(run: int) -> Findings:
        environ = environment(settings)
        made = read_made(*await output_of([*dia, "create", "--if-due"], environ))
        if made.detail["created"]:
            code, _, complained = await output_of([*dia, "prune"], environ)
            if code:
                raise JobProcessFailed(why("dia backup prune", code, complained))
        return made

    def show(result: Findings | None, leads: bool) -> None:
        newest_ms = result.detail.get("newest_ms") if result is not None else None

        def age() -> float:
            return age_s(clock.now_ms(), newest_ms) if leads else 0.0

        metrics.schedule.backup_age.set_function(age)

    return ScheduledJob(
        name=NAME,
        interval_s=LOOK_INTERVAL_S,
        timeout_s=settings.backup_timeout_s + _SLACK_S,
        work=work,
        show=show,
    )


def read_made(code: int, said: bytes, complained: bytes) -> Findings:
    """What `dia backup create --json` made, and when the newest whole backup began. Raises
    `JobProcessFailed` if it did not complete."""
    try:
        report: dict[str, Any] = msgspec.json.decode(said) if not code else {}
        detail = {"created": report["created"], "newest_ms": report["newest_ms"]}
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise JobProcessFailed(why("dia backup create", code, complained)) from error
    return Findings(0, detail)
