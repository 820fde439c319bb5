"""The parts of a report, in order, and how to measure them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeAlias

import msgspec
from xxhash import xxh3_64

from streams.core.errors import CommandError, DiaError, UsageError
from streams.dev.bench.cases.capacity import measure_capacity
from streams.dev.bench.cases.case import PACED_EVENTS_MAX, Case, paced
from streams.dev.bench.console_load.measure import READERS as READERS_COUNT
from streams.dev.bench.console_load.measure import measure_console_load
from streams.dev.bench.curves import jobs
from streams.dev.bench.curves.curves import AXES, measure_curves
from streams.dev.bench.curves.jobs import measure_jobs
from streams.dev.bench.named import named_or_all
from streams.dev.bench.peers.agents import run_agents
from streams.dev.bench.peers.run import DEFAULT_WORKLOAD, chosen, run_peers
from streams.dev.bench.report import files as records
from streams.dev.bench.report.machine import this_machine
from streams.dev.bench.report.records import (
    AGENTS,
    CAPACITY,
    CURVES,
    JOBS,
    PEERS,
    READERS,
    MadeWith,
    Notes,
    read_all,
)
from streams.dev.bench.report.results import BenchReport
from streams.dev.bench.run import run
from streams.dev.demo.run import Talk

PACKAGES = ("schemas", "streams", "tables", "agents")
NOT_MEASURED = ("streams/dev/bench/", "streams/cli/", "streams/dev/demo/", "streams/operate/audit/")
"""Changes in these folders do not invalidate figures."""


def source_hash(root: Path) -> str:
    """Of every module below ``root`` that affects the pipeline's speed."""
    digest = xxh3_64()
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            name = path.relative_to(root).as_posix()
            if not name.startswith(NOT_MEASURED):
                digest.update(f"{name}\0".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()


SUSTAINED_EVENTS = 5_000_000
PEER_EVENTS = 1_000_000
PEER_LIMIT_S = 40.0
AGENT_LIMIT_S = 20.0
CURVES_S = 360.0
LIMIT_S = 1800.0
CAPACITY_S = 55.0
PACED_S = 20
JOBS_LIMIT_S = 120.0
READERS_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """``clone`` is tests/bench, ``folder`` holds the records."""

    home: Path
    clone: Path
    folder: Path
    talk: Talk
    curves_s: float = CURVES_S
    limit_s: float = LIMIT_S
    now_s: Callable[[], float] = time.monotonic


Measure: TypeAlias = Callable[[Bench], msgspec.Struct]


class Part(NamedTuple):
    """``minutes`` on a quiet machine of two cores."""

    name: str
    minutes: float
    measure: Measure


def _run(case: Case, bench: Bench) -> BenchReport:
    return run([case], bench.home, bench.talk)


def _half(bench: Bench) -> BenchReport:
    """At half of the rate of the part `narrow`."""
    narrow = read_all(bench.folder).runs.get("narrow")
    found = narrow.outcomes[0].throughput if narrow is not None else None
    if found is None or found.events_per_s is None:
        raise UsageError("the rate is half of what the part `narrow` sustained: measure it first.")
    # the sender works in hundredths of a second
    return _run(paced(Case(workload="narrow"), found.events_per_s // 2000 * 1000, PACED_S), bench)


def _peers(bench: Bench) -> msgspec.Struct:
    case = Case(workload=DEFAULT_WORKLOAD, events=PEER_EVENTS, shards=1, sink="null")
    programs = bench.clone / "peers"
    return run_peers(chosen("all"), case, PEER_LIMIT_S, programs, bench.home, bench.talk)


def _curves(bench: Bench) -> msgspec.Struct:
    return asyncio.run(measure_curves(AXES, bench.curves_s, bench.talk))


def _capacity(bench: Bench) -> msgspec.Struct:
    return measure_capacity(Case(workload="narrow"), CAPACITY_S, bench.home, bench.talk)


def _readers(bench: Bench) -> msgspec.Struct:
    """At half of the rate of the part `capacity`, sender included."""
    capacity = read_all(bench.folder).capacity
    if capacity is None or capacity.safe_per_s is None:
        raise UsageError("the rate is half of what the part `capacity` found: measure it first.")
    rate = capacity.safe_per_s // 2000 * 1000
    seconds = min(READERS_S, PACED_EVENTS_MAX // rate)
    return measure_console_load(
        paced(_NARROW, rate, seconds), READERS_COUNT, bench.home, bench.talk
    )


def _agents(bench: Bench) -> msgspec.Struct:
    """Of dia alone: Faust takes its whole limit for each kind of work."""
    return run_agents(("dia",), PEER_EVENTS, AGENT_LIMIT_S, bench.clone, bench.home, bench.talk)


def _jobs(bench: Bench) -> msgspec.Struct:
    return asyncio.run(measure_jobs(jobs.EVENTS, JOBS_LIMIT_S))


def _case(name: str, minutes: float, case: Case) -> Part:
    return Part(name, minutes, partial(_run, case))


_NARROW = Case(workload="narrow")
PARTS: tuple[Part, ...] = (
    Part(PEERS, 7.4, _peers),
    _case("wide", 1.8, Case(workload="wide", events=SUSTAINED_EVENTS, restore=True)),
    _case("narrow", 1.3, Case(workload="narrow", events=SUSTAINED_EVENTS)),
    _case("narrow-2", 1.3, Case(workload="narrow", events=SUSTAINED_EVENTS, processes=2)),
    _case("wide-null", 0.6, Case(workload="wide", events=2_000_000, sink="null", floor=True)),
    _case("narrow-null", 0.6, Case(workload="narrow", events=2_000_000, sink="null", floor=True)),
    _case("hot", 0.6, Case(workload="hot")),
    _case("dups", 0.6, Case(workload="dups")),
    _case("single", 0.5, paced(Case(workload="single"), 200, PACED_S)),
    _case("fresh-often", 0.7, paced(_NARROW, 20_000, PACED_S, commit_interval_s=0.1)),
    Part("fresh-half", 0.8, _half),
    _case("rebalance", 0.8, paced(_NARROW, 5_000, 20, rebalance=True)),
    Part(JOBS, 0.5, _jobs),
    Part(AGENTS, 1.2, _agents),
    Part(CURVES, 6.0, _curves),
    Part(CAPACITY, 2.0, _capacity),
    Part(READERS, 2.8, _readers),
)


def wanted(names: str) -> Sequence[Part]:
    """Raises `UsageError`."""
    return named_or_all("part", names, {part.name: part for part in PARTS})


def measure_parts(parts: Iterable[Part], bench: Bench, *, again: bool) -> list[str]:
    """Measure parts without a record of this engine on this machine, or all with ``again``. Returns
    the names of failed parts, and of those that would not have ended within the bench's limit."""
    deadline_s = bench.now_s() + bench.limit_s
    bench.folder.mkdir(parents=True, exist_ok=True)
    notes = Notes(bench.folder)
    made = MadeWith(source_hash(bench.clone.parents[1]), this_machine().id)
    failed = []
    for part in parts:
        if not again and notes.holds(part.name, made):
            bench.talk.say(f"{part.name}: measured before, with this source")
            continue
        if bench.now_s() + part.minutes * 60 > deadline_s:
            bench.talk.say(f"{part.name}: no time is left for its {part.minutes:g} minutes")
            failed.append(part.name)
            continue
        bench.talk.say(f"{part.name}: about {part.minutes:g} minutes")
        try:
            record = part.measure(bench)
        except DiaError as error:
            bench.talk.say(f"{part.name} failed: {error}")
            failed.append(part.name)
            continue
        records.save(record, bench.folder, part.name)
        notes.note(part.name, made)
    return failed


def refuse_failures(failed: Sequence[str]) -> None:
    """Raises `CommandError`."""
    if failed:
        raise CommandError(
            f"not measured: {', '.join(failed)}. The others are kept; run the command again for the "
            "rest."
        )
