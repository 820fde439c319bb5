"""Comparison with other engines: it must be neither unfair to a peer nor too favourable."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from streams.core.errors import CommandError, DependencyUnreachable, UsageError
from streams.dev.bench.peers import environment as peer_environment
from streams.dev.bench.peers import run as peer_run
from streams.dev.bench.peers.affinity import born_on, one_each, pin
from streams.dev.bench.peers.environment import version_of
from streams.dev.bench.peers.peers import PEERS, Peer
from streams.dev.bench.peers.process import Course, PeerCount, PeerMark, PeerRun, run_peer
from streams.dev.bench.peers.results import OURS, PeerOutcome, PeerReport, ratio_table
from streams.dev.bench.peers.run import chosen, judged
from streams.dev.bench.processes import CpuReading
from streams.dev.bench.report.machine import this_machine
from streams.dev.local.jar_lock import parse_lock

PROGRAMS = Path(__file__).parents[3] / "bench" / "peers"
PEER, FLOOR = PEERS[0], PEERS[-1]
ORACLE = SimpleNamespace(applied=950, duplicates=50)


def _course(*marks: tuple[int, float], counted: PeerCount | None = None) -> Course:
    course = Course(counted=counted)
    for read, at_s in marks:
        spent = {"peer": at_s / 2, "kafka": at_s / 4}
        course.marks.append(PeerMark(read, at_s, CpuReading(spent, 0.0)))
    return course


def _outcome(title: str, rate: int | None, **others: object) -> PeerOutcome:
    fields = {"job": "windows", "guarantee": "-", "version": "1", **others}
    return PeerOutcome(title=title, events_per_s=rate, **fields)


def _report(*outcomes: PeerOutcome) -> PeerReport:
    return PeerReport(
        started_at="2026-11-21T09:00:00",
        machine=this_machine(),
        versions={},
        workload="wide",
        events=1000,
        limit_s=60.0,
        outcomes=list(outcomes),
    )


def test_the_clock_runs_from_the_first_record_to_the_last():
    """Start-up is excluded, and CPU is counted over the same time."""
    course = _course((0, 10.0), (500, 11.0), (1000, 12.0), counted=PeerCount(950, 50))
    found = judged(PEER, "1", PeerRun(course, 99), ORACLE)
    assert (found.events_per_s, found.seconds, found.exact) == (500, 2.0, True)
    assert (found.cpu_s_per_million, found.broker_cpu_s_per_million) == (1000.0, 500.0)


def test_a_peer_with_wrong_counts_has_no_rate():
    """The same rule holds for dia."""
    course = _course((0, 10.0), (1000, 12.0), counted=PeerCount(951, 49))
    found = judged(PEER, "1", PeerRun(course, 99), ORACLE)
    assert (found.events_per_s, found.exact) == (None, False)
    assert "951" in found.problem


def test_a_peer_stopped_at_its_limit_has_the_rate_it_had():
    """Its figures say how far it came; its counts are not verified."""
    course = _course((0, 10.0), (300, 13.0))
    found = judged(PEER, "1", PeerRun(course, 99), ORACLE)
    assert (found.read, found.events_per_s, found.exact) == (300, 100, None)


def test_a_floor_has_no_windows():
    """A floor has no windows: it counts decoded events."""
    course = _course((0, 10.0), (1000, 11.0), counted=PeerCount(1000, 0))
    assert judged(FLOOR, "1", PeerRun(course, 9), ORACLE).events_per_s == 1000


@pytest.mark.parametrize(
    ("course", "ended", "problem"),
    [
        (_course(), "read nothing within 90 s", "read nothing"),
        (_course((0, 1.0)), "", "no progress"),
        (_course((0, 1.0), (5, 2.0)), "ended by itself after 5 records", "ended by itself"),
    ],
)
def test_a_crashed_peer_has_a_reason_and_no_rate(course, ended, problem):
    """A crash must not look like a slow run."""
    found = judged(PEER, "1", PeerRun(course, 0, ended), ORACLE)
    assert found.events_per_s is None
    assert problem in found.problem


def test_marks_are_found_among_other_output():
    """Frameworks print banners. The clock of a peer that reads in steps begins at the last step without
    records."""
    course, cpu = Course(), CpuReading({}, 0.0)
    for line in (b"Hello @@ 5 6\n", b"@@ 0 1.5\n", b"@@ 10 2.5\n", b"@@ done 9 1\n"):
        course.take(line, cpu)
    assert (course.read, course.seconds, course.counted) == (10, 1.0, (9, 1))
    steps = Course()
    for line in (b"@@ 0 1.5\n", b"@@ 0 9.5\n", b"@@ 10 11.5\n"):
        steps.take(line, cpu)
    assert (steps.read, steps.seconds) == (10, 2.0)
    with pytest.raises(ValueError, match="not a mark"):
        course.take(b"@@ what is this\n", cpu)


def test_the_table_ranks_by_speed_and_says_how_many_times():
    """Floors come last, since they do only a part of the work."""
    report = _report(
        _outcome("slow", 1000),
        _outcome(OURS, 100_000, exact=True),
        _outcome("fetch", 400_000, job="floor"),
        _outcome("absent", None, problem="not available here"),
        _outcome("close", 80_000),
    )
    rows = [row.split(" | ") for row in ratio_table(report)[2:]]
    assert [row[0] for row in rows] == [
        "| **dia**", "| close 1", "| slow 1", "| absent 1", "| floor: fetch 1",
    ]  # fmt: skip
    assert [row[2] for row in rows] == ["-", "1.2x", "100x", "-", "0.25x"]
    assert "not available here" in rows[3][1]


def test_every_peer_has_a_program_and_a_pinned_version():
    """A comparison must be repeatable."""
    for peer in PEERS:
        folder = PROGRAMS / peer.folder
        assert version_of(peer, folder)[0].isdigit()
        [program] = folder.glob("[pP]eer.*")
        assert "Progress" in program.read_text()
        if program.suffix == ".java":
            locked = parse_lock((folder / "jars.lock").read_text())
            assert any(jar.coordinate.startswith("org.eclipse.jdt:ecj:") for jar in locked)
    assert chosen("all") == PEERS
    assert [peer.title for peer in chosen("faust_streaming")] == ["Faust"]
    assert len({peer.name for peer in PEERS}) == len({peer.title for peer in PEERS}) == len(PEERS)
    [in_memory] = chosen("kafka_streams_memory")
    assert (in_memory.folder, in_memory.variant) == ("kafka_streams", "memory")
    with pytest.raises(UsageError, match="no peer flink"):
        chosen("flink")


async def _run(command, environ, folder):
    core = one_each().measured
    log = folder / "log"
    return await run_peer(command, environ, log, core=core, broker_pid=os.getpid(), limit_s=60.0)


async def test_a_peer_is_followed_to_its_last_record(tmp_path):
    """With the module that all Python peers share, in a real child process."""
    program = (
        "from progress import Progress\n"
        "p = Progress()\n"
        "for i in range(1000):\n"
        "    p.applied += 1\n"
        "    p.add()\n"
        "import time; time.sleep(60)\n"
    )
    names = ("BOOTSTRAP", "TOPIC", "GROUP", "STATE")
    environ = {**os.environ, **{f"BENCH_{name}": "x" for name in names}}
    environ |= {"BENCH_EVENTS": "1000", "PYTHONPATH": str(PROGRAMS)}
    command = (sys.executable, "-c", program)
    run = await _run(command, environ, tmp_path)
    assert run.ended == ""
    assert run.course.counted == (1000, 0)
    assert run.course.read == 1000
    assert len(run.course.marks) == 201
    assert run.peak_rss_mib > 0


async def test_the_progress_of_a_killed_peer_is_reported(tmp_path):
    """Also before it has read a record."""
    command = (sys.executable, "-c", "print('@@ 0 1.0'); print('@@ 7 2.0')")
    run = await _run(command, os.environ, tmp_path)
    assert run.ended == "ended by itself after 7 records"


def test_children_start_on_the_measured_core():
    """The CPU affinity of the bench itself does not change."""
    mine = os.sched_getaffinity(0)
    cores = one_each()
    code = "import os; print(os.sched_getaffinity(0))"
    with born_on(cores.measured):
        told = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert told.strip() == str({cores.measured})
    assert os.sched_getaffinity(0) == mine
    sleeper = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        pin(sleeper.pid, cores.rest)
        assert os.sched_getaffinity(sleeper.pid) == {cores.rest}
    finally:
        sleeper.communicate()


def _faust(programs: Path, version: str) -> Peer:
    peer = next(peer for peer in PEERS if peer.folder == "faust_streaming")
    (programs / peer.folder).mkdir(parents=True, exist_ok=True)
    (programs / peer.folder / "requirements.txt").write_text(f"faust-streaming=={version}\n")
    return peer


async def test_a_peer_is_installed_once_and_by_itself(tmp_path, monkeypatch):
    """Another version gets another folder; the same one is not downloaded again."""
    ran: list[tuple[str, ...]] = []

    async def run(peer, *command):
        ran.append(command)
        if command[2] == "venv":
            os.makedirs(command[3])  # noqa: PTH103 - Path.mkdir is refused in a coroutine

    monkeypatch.setattr(peer_environment, "_run", run)
    programs, cache = tmp_path / "peers", tmp_path / "cache"
    told: list[str] = []

    async def prepared(version):
        peer = _faust(programs, version)
        return await peer_environment.prepare(peer, programs, cache, told.append)

    first = await prepared("0.15.3")
    assert first.version == "0.15.3"
    assert first.command[1] == str(programs / "faust_streaming" / "peer.py")
    assert [command[1:3] for command in ran] == [("-m", "venv"), ("-m", "pip")]
    assert await prepared("0.15.3") == first
    assert len(ran) == 2
    assert (await prepared("0.15.4")).command[0] != first.command[0]
    assert len(ran) == 4


async def test_a_java_program_is_compiled_with_what_all_share_once(tmp_path, monkeypatch):
    """A run of classes compiled from other sources would measure another program."""
    ran: list[tuple[str, ...]] = []

    async def run(peer, *command):
        ran.append(command)

    monkeypatch.setattr(peer_environment, "_run", run)
    monkeypatch.setattr(peer_environment.jars, "ensure", lambda *_: "own.jar")
    monkeypatch.setattr(peer_environment, "locate", lambda: SimpleNamespace(java="java"))
    programs = tmp_path / "peers"
    (programs / "flink_datastream").mkdir(parents=True)
    for name in ("jars.lock", "Peer.java"):
        (programs / "flink_datastream" / name).write_text("")
    [peer] = chosen("flink_datastream")

    async def prepared(shared):
        (programs / "Progress.java").write_text(shared)
        return await peer_environment.prepare(peer, programs, tmp_path / "cache", lambda _: None)

    first = await prepared("// one")
    assert ran[0][-2:] == (
        str(programs / peer.folder / "Peer.java"),
        str(programs / "Progress.java"),
    )
    assert await prepared("// one") == first
    assert len(ran) == 1
    assert await prepared("// other") != first
    assert len(ran) == 2


async def test_an_installation_that_fails_is_tried_again(tmp_path, monkeypatch):
    """An incomplete environment must not count as installed."""

    async def run(peer, *command):
        raise CommandError("pip ended with 1")

    programs, cache = tmp_path / "peers", tmp_path / "cache"
    peer = _faust(programs, "0.15.3")
    monkeypatch.setattr(peer_environment, "_run", run)
    for _ in range(2):
        with pytest.raises(CommandError, match="pip ended"):
            await peer_environment.prepare(peer, programs, cache, lambda _: None)


async def test_a_command_of_an_installation_must_succeed():
    """Its exit code is checked."""
    with pytest.raises(CommandError, match="exit code 3"):
        await peer_environment._run(PEER, sys.executable, "-c", "raise SystemExit(3)")


async def test_an_unavailable_peer_is_a_line_of_the_table(tmp_path, monkeypatch):
    """The others run, and the table states the reason."""

    async def prepare(*_):
        raise DependencyUnreachable("no network: https://example.invalid")

    monkeypatch.setattr(peer_run, "prepare", prepare)
    peer = _faust(tmp_path, "0.15.3")
    told: list[str] = []
    rig = SimpleNamespace(talk=SimpleNamespace(say=told.append))
    contest = peer_run.Contest((peer,), 1.0, tmp_path)
    outcome = await contest._peer(rig, peer, ORACLE, one_each())
    assert outcome.problem == "not available here (dependency_unreachable)"
    assert told == ["no network: https://example.invalid"]
    assert (outcome.events_per_s, outcome.version) == (None, "0.15.3")
