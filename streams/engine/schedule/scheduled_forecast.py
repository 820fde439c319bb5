"""The scheduled forecast: runs `dia capacity predict` in its own process, as the audit does.

The leader shows it as gauges for autoscalers. The gauges read the hours of the last complete run
against the clock, so an old forecast ends by itself: they are 0 behind its last hour.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any, Final

import msgspec

from streams.core.clock import Clock
from streams.core.errors import JobProcessFailed
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics
from streams.engine.schedule.job import Findings, ScheduledJob
from streams.engine.schedule.ledger_audit import environment, output_of, why

NAME: Final = "forecast"
HORIZONS_H: Final = {"1h": 1, "24h": 24}
_TIMEOUT_S: Final = 600.0
_HOUR_MS: Final = 3_600_000


def scheduled_forecast(settings: Settings, clock: Clock, metrics: Metrics) -> ScheduledJob:
    dia = [sys.executable, "-m", "streams", "--json", "--quiet"]
    command = [*dia, "capacity", "predict", "--hours", "48", "--summary"]

    async def work(run: int) -> Findings:
        return read_forecast(*await output_of(command, environment(settings)))

    def show(result: Findings | None, leads: bool) -> None:
        found = result.detail if result is not None and leads else {}

        def highest_per_s(hours: int) -> float:
            """Of this hour and the next ``hours``; 0: not known."""
            passed = (clock.now_ms() - found.get("from_ms", 0)) // _HOUR_MS
            ahead = found.get("high_per_s", [])[max(0, passed) : max(0, passed + hours + 1)]
            return max(ahead, default=0.0)

        for name, hours in HORIZONS_H.items():
            gauge = metrics.schedule.predicted.labels(name)
            gauge.set_function(partial(highest_per_s, hours))

    return ScheduledJob(
        name=NAME,
        interval_s=settings.forecast_interval_s,
        timeout_s=_TIMEOUT_S,
        work=work,
        show=show,
    )


def read_forecast(code: int, said: bytes, complained: bytes) -> Findings:
    """The band's top of each hour, as `dia capacity predict --summary --json` says. Raises
    `JobProcessFailed` if it did not complete."""
    try:
        report: dict[str, Any] = msgspec.json.decode(said) if not code else {}
        detail = {"from_ms": int(report["from_ms"]), "high_per_s": [*report["high_per_s"]]}
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise JobProcessFailed(why("dia capacity predict", code, complained)) from error
    return Findings(0, detail)
