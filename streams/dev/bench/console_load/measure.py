"""Measures waiting times of 200 console readers under a constant event rate.

The stack, a worker, `dia console`, the sender and the readers each have a process. One reader in
ten has a token of every tenant, the others one of the tenants with the most events."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from agents.app import MODEL_METRICS
from streams.connect.access.tokens import Role, TokenFile
from streams.core.errors import CommandError
from streams.dev.bench import exactness
from streams.dev.bench.cases.case import Case
from streams.dev.bench.console_load.child import READY, ReadersResult, ReadersTask
from streams.dev.bench.console_load.reader import STREAM, THINK_S
from streams.dev.bench.console_load.record import ConsoleLoad, lag_of, times_of
from streams.dev.bench.load import open_loop
from streams.dev.bench.processes import others_cores
from streams.dev.bench.report.machine import this_machine, versions
from streams.dev.bench.rig import Rig
from streams.dev.bench.run import on_stack
from streams.dev.demo.command_process import DIA, CommandProcess, address_of
from streams.dev.demo.run import Talk
from streams.dev.demo.worker_process import WorkerProcess
from streams.dev.workload.generator import tenant_name

READERS = 200
TENANTS = 20
OF_EVERYONE = 10
ARRIVAL_S = 5.0
COMMITS_AFTER = 2
ANSWER_WAIT_S = 60.0


def measure_console_load(case: Case, readers: int, home: Path, talk: Talk) -> ConsoleLoad:
    """On a stack of its own. Raises as `streams.dev.bench.run.run`."""

    async def measure(rig: Rig) -> ConsoleLoad:
        process = rig.start("worker")
        console = _console(rig)
        try:
            await rig.all_opened(process, MODEL_METRICS.partitions)
            url = await asyncio.to_thread(address_of, console)
            return await _measured(rig, process, console, _task(rig, url, readers))
        finally:
            console.stop()
            await rig.stop(process)

    return on_stack(case, home, talk, None, measure)


def _console(rig: Rig) -> CommandProcess:
    log = rig.home / "console.log"
    return CommandProcess("console", [*DIA, "console", "--port", "0"], environ=rig.environ, log=log)


def _task(rig: Rig, url: str, readers: int) -> ReadersTask:
    file, now_ms = TokenFile.of(rig.home), rig.clock.now_ms()
    people = []
    for number in range(readers):
        bound, tenant = number % OF_EVERYONE != 0, tenant_name(number % TENANTS)
        role = Role.READ if bound else Role.ADMIN
        _, token = file.create(tenant=tenant if bound else None, role=role, now_ms=now_ms)
        people.append((token, tenant, bound))
    return ReadersTask(
        url=url,
        people=people,
        arrival_s=ARRIVAL_S,
        seconds=float(rig.case.seconds or 0),
        seed=rig.case.seed,
    )


async def _measured(
    rig: Rig, process: WorkerProcess, console: CommandProcess, task: ReadersTask
) -> ConsoleLoad:
    case, started_at = rig.case, datetime.now(UTC).isoformat()
    rate, seconds = case.rate_per_s or 0, case.seconds or 0
    rig.talk.say("making the events")
    made = await asyncio.to_thread(
        open_loop.make, case.workload, case.seed, case.events, rate, rig.clock.now_ms()
    )
    child = await _child(task)
    try:
        watched = rig.watched(process).also({"console": console.pid})
        rig.talk.say(f"{len(task.people)} readers arrive")
        before, began = watched.read(), rig.clock.monotonic()
        reading = asyncio.create_task(_met(child))
        await rig.clock.sleep(ARRIVAL_S)
        sent = await open_loop.send(rig, made.blocks, rate, None)
        met = await reading
        after, took_s = watched.read(), rig.clock.monotonic() - began
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    await rig.clock.sleep(COMMITS_AFTER * rig.settings.commit_interval_s)
    lag_at_end = await rig.reading.unread()
    visible = await rig.until_visible(process, made.oracle.applied)
    await rig.until_acknowledged(process)
    rig.talk.say("comparing every window with what was sent")
    verdict = exactness.also(
        exactness.of_windows(made.oracle, await rig.reading.everything()),
        failed=not visible,
        difference="not every event was counted in time",
    )
    costs = watched.costs(before, after, case.events)
    times = times_of(met.seconds, apart=STREAM)
    console_s = next(cost.cpu_s for cost in costs if cost.name == "console")
    return ConsoleLoad(
        started_at=started_at,
        machine=this_machine(),
        versions=versions(),
        case=f"{case.name}; a request every {THINK_S[0]:g} to {THINK_S[1]:g} s of each reader",
        readers=len(task.people),
        seconds=seconds,
        rate_per_s=rate,
        exact=verdict.exact,
        differences=verdict.differences,
        times=times,
        errors=met.errors,
        unchanged=met.unchanged,
        events=met.events,
        console_ms_per_request=round(1000 * console_s / times[0].requests, 2),
        processes=costs,
        readers_cpu_s=round(met.cpu_s, 2),
        others_cores=round(others_cores(before, after, took_s) - met.cpu_s / took_s, 2),
        sender_late_s=round(sent.late_s, 3),
        lag=lag_of(sent.lags, lag_at_end, rate * rig.settings.commit_interval_s),
    )


async def _child(task: ReadersTask) -> asyncio.subprocess.Process:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "streams.dev.bench.console_load.child"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        # all times of a run are in one line
        limit=1 << 28,
        env={**os.environ},
    )
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(msgspec.json.encode(task) + b"\n")
    await child.stdin.drain()
    async with asyncio.timeout(ANSWER_WAIT_S):
        if await child.stdout.readline() != READY:
            raise CommandError("the readers' process ended before it began.")
    return child


async def _met(child: asyncio.subprocess.Process) -> ReadersResult:
    output, _ = await child.communicate(b"\n")
    if child.returncode != 0:
        raise CommandError(f"the readers' process ended with exit code {child.returncode}.")
    return msgspec.json.decode(output, type=ReadersResult)
