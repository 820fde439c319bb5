"""Runs cases in sequence, each on its own stack."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import streams
from agents.app import MODEL_METRICS, app
from streams.connect.broker.kafka.broker import KafkaBroker
from streams.core.clock import SystemClock
from streams.core.settings import PREFIX, Settings, load
from streams.dev.bench.cases.case import Case
from streams.dev.bench.cases.freshness import measure_freshness
from streams.dev.bench.cases.throughput import measure_throughput
from streams.dev.bench.report.machine import commit_of, this_machine, versions
from streams.dev.bench.report.results import BenchReport, CaseOutcome
from streams.dev.bench.rig import Rig
from streams.dev.demo.home import empty
from streams.dev.demo.reading import TopicReading
from streams.dev.demo.run import Talk
from streams.dev.local.preparation import environment, prepare
from streams.dev.local.stack import down, up

T = TypeVar("T")

SOURCE = Path(streams.__file__).parents[1]
"""the measured checkout, if it is one"""


def run(cases: Sequence[Case], home: Path, talk: Talk, profile: Path | None = None) -> BenchReport:
    """Measure every case in ``home``, which is emptied for each.

    Raises `RefusedBySafety` when the home is in use or not a bench's, `DependencyUnreachable` when
    a stack cannot start, `CommandError` when a worker ends by itself."""
    started_at = datetime.now(UTC).isoformat()
    outcomes = []
    for number, case in enumerate(cases, start=1):
        talk.say(f"case {number} of {len(cases)}: {case.name}")
        outcomes.append(on_stack(case, home, talk, profile, _measure))
    return BenchReport(
        started_at=started_at,
        machine=this_machine(),
        commit=commit_of(SOURCE),
        versions=versions(),
        settings=_numbers(load()[0]),
        outcomes=outcomes,
    )


async def _measure(rig: Rig) -> CaseOutcome:
    if rig.case.rate_per_s is not None:
        return await measure_freshness(rig)
    return await measure_throughput(rig)


def on_stack(
    case: Case,
    home: Path,
    talk: Talk,
    profile: Path | None,
    measure: Callable[[Rig], Awaitable[T]],
) -> T:
    """On a fresh stack in ``home``. Raises as `run`."""
    empty(home)
    try:
        running = up(home, case.shards, talk.say, owner_pid=os.getpid())
        environ = environment(home, running.settings())
        # worker events are read from its log
        environ |= {PREFIX + "LOG_FORMAT": "json", PREFIX + "LOG_LEVEL": "info"}
        if case.commit_interval_s is not None:
            environ |= {PREFIX + "COMMIT_INTERVAL_S": str(case.commit_interval_s)}
        return asyncio.run(_rigged(case, home, talk, profile, environ, measure))
    finally:
        down(home, talk.say)


async def _rigged(
    case: Case,
    home: Path,
    talk: Talk,
    profile: Path | None,
    environ: Mapping[str, str],
    measure: Callable[[Rig], Awaitable[T]],
) -> T:
    settings, _ = load(environ)
    broker = KafkaBroker.from_settings(settings)
    await prepare(settings, app.topology, broker, talk.say)
    reading = await TopicReading.open(settings, broker, MODEL_METRICS)
    rig = Rig(
        case=case,
        home=home,
        settings=settings,
        environ=environ,
        broker=broker,
        reading=reading,
        clock=SystemClock(),
        talk=talk,
        profile=profile,
    )
    try:
        return await measure(rig)
    finally:
        await reading.close()


def _numbers(settings: Settings) -> dict[str, Any]:
    """No addresses or paths."""
    return {
        spec.name: getattr(settings, spec.name)
        for spec in fields(Settings)
        if spec.type in ("int", "float")
    }
