"""The engine's cost per job request, without work: `simulate_decision` with an empty performer, on
the engine alone (`streams.dev.bench.curves.engine`)."""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from agents.app import SIMULATE_DECISION
from streams.core.errors import CommandError
from streams.core.settings import Settings
from streams.dev.bench.children import output_of
from streams.dev.bench.curves.engine import engine, settings_alone
from streams.dev.bench.report.machine import Machine, this_machine
from streams.dev.workload.requests import RequestGenerator, RequestWorkload
from streams.engine.agents.job_agent import Outcome, Performer, Resources
from streams.engine.agents.queue_policy import QueuePolicy

FORMAT = 1
EVENTS = 200_000
PARTITIONS = 4
SLOTS = 100
BLOCK = 5000


class Jobs(msgspec.Struct, frozen=True, kw_only=True):
    """``cpu_us_per_event`` has the in-memory broker in it."""

    format: int = FORMAT
    started_at: str
    machine: Machine
    events: int
    cpu_us_per_event: float

    @property
    def events_per_s(self) -> float:
        """The rate of one process with its own core."""
        return 1e6 / self.cpu_us_per_event


class Idle:
    slots = SLOTS

    def told_waiting(self, jobs: int) -> None:
        """Its slots are fixed."""

    def queue(self, name: str) -> QueuePolicy:
        return QueuePolicy()

    def needs(self, event: Any) -> tuple[str, ...]:
        return ()

    async def prepare(self, event: Any) -> None:
        """No dependencies."""

    async def perform(self, event: Any, prepared: None, timeout_s: float) -> dict[str, Any]:
        return {}

    def finished(self, event: Any, outcome: Outcome) -> None:
        """No client waits."""

    async def close(self) -> None:
        """Nothing to close."""


async def measure_jobs(events: int, limit_s: float) -> Jobs:
    """Run it as a child. Raises `CommandError` on failure or timeout."""
    started_at = datetime.now(UTC).isoformat()
    program = (sys.executable, "-m", "streams.dev.bench.curves.jobs", str(events))
    try:
        output = await output_of("the process of the idle jobs", *program, limit_s=limit_s)
    except TimeoutError as error:
        raise CommandError(f"{events:,} idle jobs took more than {limit_s:g} s.") from error
    return Jobs(
        started_at=started_at,
        machine=this_machine(),
        events=events,
        cpu_us_per_event=round(float(output), 2),
    )


async def _spent_s(events: int, settings: Settings, folder: Path) -> float:
    now_ms = time.time_ns() // 1_000_000
    only_fresh = RequestWorkload(
        start_ms=now_ms, step_ms=1e-3, duplicates=0.0, conflicts=0.0, poison=0.0
    )
    generator = RequestGenerator(only_fresh)
    blocks = list(generator.blocks(events, BLOCK))
    agent = replace(SIMULATE_DECISION, performer=_idle)
    async with engine(settings, agent, PARTITIONS, folder) as running:
        return await running.run(blocks)


def _idle(resources: Resources) -> Performer:
    return Idle()


def main(events: int) -> None:
    with settings_alone({}) as (settings, folder):
        spent_s = asyncio.run(_spent_s(events, settings, folder))
    sys.stdout.write(f"{spent_s / events * 1e6}\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
