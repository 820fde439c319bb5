"""Runs the peers and dia on one topic in sequence, each with one core; the broker and the bench
have the other.

dia's rows are acknowledged and dropped, since no peer writes to ClickHouse. Its time ends at the
commit of the last record, theirs when it is processed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from agents.app import MODEL_METRICS
from streams.core.errors import DiaError
from streams.core.process.version import app_version
from streams.dev.bench import exactness
from streams.dev.bench.cases.case import Case
from streams.dev.bench.cases.floor import measure_floor
from streams.dev.bench.load.filling import CLEAN, fill
from streams.dev.bench.named import named_or_all
from streams.dev.bench.peers.affinity import Cores, born_on, one_each, pin
from streams.dev.bench.peers.environment import cache_folder, prepare, version_of
from streams.dev.bench.peers.peers import PEERS, Peer
from streams.dev.bench.peers.process import PeerRun, run_peer
from streams.dev.bench.peers.results import OUR_FLOOR, OURS, PeerOutcome, PeerReport
from streams.dev.bench.processes import WatchedProcesses, peak_rss_mib
from streams.dev.bench.report.machine import this_machine, versions
from streams.dev.bench.rig import Rig
from streams.dev.bench.run import on_stack
from streams.dev.demo.run import Talk
from streams.dev.workload.oracle import Oracle

DEFAULT_WORKLOAD = "wide"
EXACTLY_ONCE = "exactly once, output too"


def chosen(names: str) -> tuple[Peer, ...]:
    """Raises `UsageError`."""
    return tuple(named_or_all("peer", names, {peer.name: peer for peer in PEERS}))


def run_peers(
    peers: Sequence[Peer], case: Case, limit_s: float, programs: Path, home: Path, talk: Talk
) -> PeerReport:
    """Fill the topic once and send each through it; ``programs`` is tests/bench/peers. A peer that
    cannot run is a line of the report. Raises as `streams.dev.bench.run.run`."""
    started_at = datetime.now(UTC).isoformat()
    contest = Contest(peers, limit_s, programs)
    outcomes = on_stack(case, home, talk, None, contest.measure)
    return PeerReport(
        started_at=started_at,
        machine=this_machine(),
        versions=versions(),
        workload=case.workload,
        events=case.events,
        limit_s=limit_s,
        outcomes=outcomes,
    )


class Contest:
    def __init__(self, peers: Sequence[Peer], limit_s: float, programs: Path) -> None:
        self._peers = peers
        self._limit_s = limit_s
        self._programs = programs

    async def measure(self, rig: Rig) -> list[PeerOutcome]:
        generator, _ = await fill(rig, **CLEAN)
        oracle = generator.oracle
        cores = one_each()
        pin(rig.broker_pid, cores.rest)
        ours = [await _ours(rig, oracle, cores), await _our_floor(rig, cores)]
        theirs = [await self._peer(rig, peer, oracle, cores) for peer in self._peers]
        return ours + theirs

    async def _peer(self, rig: Rig, peer: Peer, oracle: Oracle, cores: Cores) -> PeerOutcome:
        folder = self._programs / peer.folder
        version = version_of(peer, folder)
        try:
            cache = cache_folder(os.environ)
            runnable = await prepare(peer, self._programs, cache, rig.talk.say)
        except DiaError as error:
            rig.talk.say(str(error))
            return _blank(peer, version, f"not available here ({error.code})")
        rig.talk.say(f"running {peer.title} {version}, at most {self._limit_s:g} s")
        state = rig.home / peer.name
        state.mkdir()
        environ = {
            **os.environ,
            "PYTHONPATH": str(self._programs),
            "BENCH_BOOTSTRAP": rig.settings.kafka_bootstrap,
            "BENCH_TOPIC": MODEL_METRICS.name,
            "BENCH_GROUP": f"peer-{peer.name}".replace("_", "-"),
            "BENCH_STATE": str(state),
            "BENCH_EVENTS": str(rig.case.events),
            "BENCH_VARIANT": peer.variant,
        }
        log = rig.home / f"{peer.name}.log"
        run = await run_peer(
            runnable.command,
            environ,
            log,
            core=cores.measured,
            broker_pid=rig.broker_pid,
            limit_s=self._limit_s,
        )
        return judged(peer, version, run, oracle)


def judged(peer: Peer, version: str, run: PeerRun, oracle: Oracle) -> PeerOutcome:
    """A finished run must have exact counts, else it has no speed; a stopped one has only a
    rate."""
    course = run.course
    if run.ended or len(course.marks) < 2:
        return _blank(peer, version, run.ended or "reported no progress")
    exact: bool | None = None
    problem = ""
    if course.counted is not None and peer.job == "windows":
        exact = course.counted == (oracle.applied, oracle.duplicates)
        if not exact:
            problem = (
                f"counted {course.counted.applied:,} and {course.counted.duplicates:,} repeated, "
                f"not {oracle.applied:,} and {oracle.duplicates:,}"
            )
    spent = {
        name: (course.marks[-1].cpu.by_process[name] - cpu_s) / course.read * 1e6
        for name, cpu_s in course.marks[0].cpu.by_process.items()
    }
    return PeerOutcome(
        title=peer.title,
        version=version,
        job=peer.job,
        guarantee=peer.guarantee,
        read=course.read,
        seconds=round(course.seconds, 2),
        events_per_s=None if problem else round(course.read / course.seconds),
        cpu_s_per_million=round(spent["peer"], 2),
        broker_cpu_s_per_million=round(spent["kafka"], 2),
        peak_rss_mib=run.peak_rss_mib,
        exact=exact,
        problem=problem,
    )


def _blank(peer: Peer, version: str, problem: str) -> PeerOutcome:
    return PeerOutcome(
        title=peer.title, version=version, job=peer.job, guarantee=peer.guarantee, problem=problem
    )


async def _ours(rig: Rig, oracle: Oracle, cores: Cores) -> PeerOutcome:
    rig.talk.say("running dia")
    events = rig.case.events
    with born_on(cores.measured):
        process = rig.start("worker")
    try:
        began_s = (await rig.first_opened(process)).at_s
        [worker] = process.alive()
        watched = WatchedProcesses({"dia": worker.pid, "kafka": rig.broker_pid})
        before = watched.read()
        seconds = await rig.until_committed(process, events) - began_s
        after = watched.read()
        metrics, _ = await rig.until_acknowledged(process)
        verdict = exactness.of_counters(oracle, metrics)
        peak = peak_rss_mib(worker.pid)
    finally:
        await rig.stop(process)
    spent = {cost.name: cost.cpu_s_per_million for cost in watched.costs(before, after, events)}
    return PeerOutcome(
        title=OURS,
        version=app_version(),
        job="windows",
        guarantee=EXACTLY_ONCE,
        read=events,
        seconds=round(seconds, 2),
        events_per_s=round(events / seconds) if verdict.exact else None,
        cpu_s_per_million=spent["dia"],
        broker_cpu_s_per_million=spent["kafka"],
        peak_rss_mib=peak,
        exact=verdict.exact,
        problem="; ".join(verdict.differences),
    )


async def _our_floor(rig: Rig, cores: Cores) -> PeerOutcome:
    rig.talk.say("running dia's own floor: fetch columns, decode")
    with born_on(cores.measured):
        floor = await measure_floor(rig.environ, MODEL_METRICS.name, rig.case.events)
    return PeerOutcome(
        title=OUR_FLOOR,
        version=app_version(),
        job="floor",
        guarantee="-",
        read=floor.events,
        seconds=floor.seconds,
        events_per_s=floor.events_per_s,
        cpu_s_per_million=floor.cpu_s_per_million,
    )
