"""Agents that handle one event at a time: dia and Faust on one topic, with the same code
(tests/bench/agents/agent.py).

Each engine has one core; the broker and the bench have another. Time runs from the first event to
the last, or to the limit, without the last commit."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from streams.dev.bench.cases.case import Case
from streams.dev.bench.children import output_of
from streams.dev.bench.load.filling import CLEAN, fill
from streams.dev.bench.named import named
from streams.dev.bench.peers.affinity import Cores, one_each, pin
from streams.dev.bench.peers.process import PeerRun, run_peer
from streams.dev.bench.report.machine import Machine, this_machine, versions
from streams.dev.bench.rig import Rig
from streams.dev.bench.run import on_stack
from streams.dev.demo.run import Talk

Engine: TypeAlias = Literal["dia", "faust"]

FORMAT = 1
WORKLOAD = "wide"
WORK: Mapping[str, str] = {
    "no_work": "nothing",
    "one_update": "one table update",
    "two_updates_and_a_send": "two table updates and a send",
}


class AgentOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """``read`` of the offered events in ``seconds``; fewer at the limit. ``problem`` explains a
    missing rate."""

    engine: Engine
    work: str
    read: int = 0
    seconds: float = 0.0
    events_per_s: int | None = None
    cpu_s_per_million: float | None = None
    peak_rss_mib: int = 0
    problem: str = ""


class AgentReport(msgspec.Struct, frozen=True, kw_only=True):
    format: int = FORMAT
    started_at: str
    machine: Machine
    versions: dict[str, str]
    events: int
    limit_s: float
    outcomes: list[AgentOutcome]

    def rate(self, work: str, engine: Engine) -> int | None:
        found = [one for one in self.outcomes if (one.work, one.engine) == (work, engine)]
        return found[0].events_per_s if found else None


def run_agents(
    engines: Sequence[Engine], events: int, limit_s: float, programs: Path, home: Path, talk: Talk
) -> AgentReport:
    """Fill the topic once and run each agent on each engine. ``programs`` is tests/bench. Raises as
    `streams.dev.bench.run.run`."""
    started_at = datetime.now(UTC).isoformat()
    case = Case(workload=WORKLOAD, events=events, shards=1)

    async def measure(rig: Rig) -> list[AgentOutcome]:
        cores = one_each()
        pin(rig.broker_pid, cores.rest)
        outcomes: list[AgentOutcome] = []
        for work in WORK:
            await _create_topics(rig, programs, work)
            await fill(rig, _topic(work), **CLEAN)
            outcomes += [
                await _one(rig, engine, work, programs, cores, limit_s) for engine in engines
            ]
        return outcomes

    outcomes = on_stack(case, home, talk, None, measure)
    return AgentReport(
        started_at=started_at,
        machine=this_machine(),
        versions=versions(),
        events=events,
        limit_s=limit_s,
        outcomes=outcomes,
    )


async def _one(
    rig: Rig, engine: Engine, work: str, programs: Path, cores: Cores, limit_s: float
) -> AgentOutcome:
    rig.talk.say(f"running {engine}: {WORK[work]}, at most {limit_s:g} s")
    words = ["worker", "-l", "warn", "--without-web"] if engine == "faust" else ["worker"]
    run = await run_peer(
        [*_program(programs), *words],
        _environ(rig, engine, work, programs),
        rig.home / f"{_group(engine, work)}.log",
        core=cores.measured,
        broker_pid=rig.broker_pid,
        limit_s=limit_s,
    )
    return judged(engine, work, run)


def _program(programs: Path) -> list[str]:
    return [sys.executable, str(programs / "agents" / "agent.py")]


def _group(engine: Engine, work: str) -> str:
    return f"bench-{engine}-{work}".replace("_", "-")


def _topic(work: str) -> str:
    """One app of dia owns a topic."""
    return f"bench.{work}"


def _environ(rig: Rig, engine: Engine, work: str, programs: Path) -> dict[str, str]:
    state = rig.home / _group(engine, work)
    state.mkdir(exist_ok=True)
    return {
        **rig.environ,
        "PYTHONPATH": str(programs / "peers"),
        "BENCH_ENGINE": engine,
        "BENCH_WORK": work,
        "BENCH_BOOTSTRAP": rig.settings.kafka_bootstrap,
        "BENCH_TOPIC": _topic(work),
        "BENCH_GROUP": _group(engine, work),
        "BENCH_STATE": str(state),
        "BENCH_EVENTS": str(rig.case.events),
        "DIA_STATE_DIR": str(state),
    }


async def _create_topics(rig: Rig, programs: Path, work: str) -> None:
    command = (*_program(programs), "topics", "apply")
    environ = _environ(rig, "dia", work, programs)
    await output_of("creating the agent's topics", *command, environ=environ)


def judged(engine: Engine, work: str, run: PeerRun) -> AgentOutcome:
    course = run.course
    if run.ended or len(course.marks) < 2:
        problem = run.ended or "reported no progress"
        return AgentOutcome(engine=engine, work=work, problem=problem)
    first, last = course.marks[0].cpu, course.marks[-1].cpu
    spent_s = last.by_process["peer"] - first.by_process["peer"]
    return AgentOutcome(
        engine=engine,
        work=work,
        read=course.read,
        seconds=round(course.seconds, 2),
        events_per_s=round(course.read / course.seconds),
        cpu_s_per_million=round(spent_s / course.read * 1e6, 2),
        peak_rss_mib=run.peak_rss_mib,
    )


def agent_table(report: AgentReport) -> list[str]:
    return [
        "| an event does | engine | events/s | dia is | CPU s per M | RSS MiB | events read |",
        "|---|---|---:|---:|---:|---:|---:|",
        *(_row(report, outcome) for outcome in report.outcomes),
    ]


def _row(report: AgentReport, outcome: AgentOutcome) -> str:
    rate = outcome.events_per_s
    if rate is None:
        return f"| {WORK[outcome.work]} | {outcome.engine} | {outcome.problem} | - | - | - | - |"
    ours = report.rate(outcome.work, "dia")
    ratio = f"{ours / rate:.1f}x" if ours and outcome.engine != "dia" else "-"
    return (
        f"| {WORK[outcome.work]} | {outcome.engine} | {rate:,} | {ratio} "
        f"| {outcome.cpu_s_per_million:,.1f} | {outcome.peak_rss_mib:,} | {outcome.read:,} |"
    )


def chosen_engines(names: str) -> tuple[Engine, ...]:
    """Raises `UsageError`."""
    every: tuple[Engine, ...] = ("dia", "faust")
    wanted = named("engine", names, {name: name for name in every})
    return tuple(engine for engine in every if engine in wanted)
