"""`dia canary check` reads real metrics ports at both ends of the window; its exit code lets an upgrade go on or not."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack

import msgspec
import pytest

from agents.app import DIA_GROUP, MODEL_METRICS
from streams.cli import main
from streams.core import clock as clocks
from streams.core.clock import SystemClock
from streams.core.errors import DependencyUnreachable
from streams.core.process.listener import bound
from streams.core.telemetry import health
from streams.core.telemetry.health import HealthServer, HealthState
from streams.core.telemetry.metrics import Metrics
from streams.operate.audit import audit as auditing
from streams.operate.audit.audit import AuditReport
from streams.operate.audit.refused import RefusedRows
from streams.operate.audit.snapshot import AuditSnapshot, DeadLetterCounts, PartitionSnapshot


class Worker:
    """A metrics port as a worker has it, which ``works`` while the command waits."""

    def __init__(self, number: int, version: str) -> None:
        self.metrics = Metrics(version=version, process="worker")
        self.state = HealthState(SystemClock())
        self.number, self.late, self.stops = number, 0, False

    def report(self, stopped_by: str | None = None) -> None:
        held = {"group": DIA_GROUP, "topic": MODEL_METRICS.name, "partition": self.number}
        status = {"pid": 1, "host": f"dia-all-{self.number}", "slot": 0, "ready": not stopped_by}
        held |= {"stopped_by": stopped_by, "behind_s": 0.0}
        self.state.set_status(msgspec.json.encode({**status, "partitions": [held]}))

    def work(self) -> None:
        at = (MODEL_METRICS.name, str(self.number))
        self.metrics.intake.records_read.labels(*at).inc(2000)
        self.metrics.commit.commits.labels(*at).inc(200)
        for number in range(2000):
            self.metrics.sink.freshness_seconds.observe(60 if number < self.late else 1)
        self.report("changelog_gap" if self.stops else None)


def _audited(group: str, topic: str) -> AuditReport:
    """Of four partitions without a difference."""
    partitions = tuple(
        PartitionSnapshot(
            partition=number, begin_offset=0, end_offset=0, committed_offset=0, committed_epoch=0,
            ledger=(), shed=(),
        )
        for number in range(4)
    )  # fmt: skip
    books = AuditSnapshot(
        group=group, topic=topic, partitions=partitions, dead=DeadLetterCounts(), rows=None,
        refused=RefusedRows(frozenset()), expired_events=0, stale=(),
    )  # fmt: skip
    return AuditReport(books=[books])


@pytest.fixture
def books(monkeypatch):
    """What the audit says: a report, or an error. Its own tests are in tests/integration/audit."""
    said: list[AuditReport | Exception] = [_audited(DIA_GROUP, MODEL_METRICS.name)]

    async def audited(options, agents, *_):
        assert [one.source.name for one in agents] == [MODEL_METRICS.name]
        if isinstance(said[-1], Exception):
            raise said[-1]
        return said[-1]

    monkeypatch.setattr(auditing, "audit", audited)
    return said


@pytest.fixture
async def checked(monkeypatch, capsys, tmp_path, books):
    """Four workers, the last of version 2; runs the command, and they work while it waits."""
    monkeypatch.setenv("DIA_HOME", str(tmp_path))
    monkeypatch.setenv("DIA_KAFKA_BOOTSTRAP", "127.0.0.1:1")
    monkeypatch.setattr(health, "METRICS_AGE_S", 0.0)
    workers = [Worker(number, "2" if number == 3 else "1") for number in range(4)]

    class Window(SystemClock):
        async def sleep(self, delay_s: float) -> None:
            for worker in workers:
                worker.work()

    async with AsyncExitStack() as stack:
        ports = []
        for worker in workers:
            worker.report()
            listener = bound("127.0.0.1", 0, "DIA_HTTP_PORT")
            server = HealthServer(worker.state, worker.metrics, SystemClock(), listener)
            ports.append(await server.start())
            stack.push_async_callback(server.stop)
        monkeypatch.setenv("DIA_WORKERS_AT", ",".join(f"127.0.0.1:{port}" for port in ports))

        async def run(*options):
            with monkeypatch.context() as patched:
                patched.setattr(clocks, "SystemClock", Window)
                code = await asyncio.to_thread(main, ["canary", "check", *options, "--json"])
            rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
            return code, {row["figure"]: row["verdict"] for row in rows}

        yield workers, run


@pytest.mark.parametrize(
    "choice",
    [
        ("--worker", "dia-all-3/*"),
        ("--of-version", "2"),
        ("--partition", f"{MODEL_METRICS.name}/3"),
    ],
)
async def test_a_canary_like_the_others_lets_the_upgrade_go_on(checked, choice):
    """Each way to name the canary finds the same worker."""
    _, run = checked
    code, found = await run(*choice)
    assert code == 0
    assert found == dict.fromkeys(
        ("workers", "stopped", "behind", "freshness", "dead_letters", "commit_failures", "audit"),
        "pass",
    )


async def test_late_rows_of_the_canary_stop_the_upgrade(checked):
    """The rows of a slower version are late, and no record is bad."""
    workers, run = checked
    workers[3].late = 100
    code, found = await run("--worker", "dia-all-3/*")
    assert (code, found["freshness"]) == (1, "worse")


async def test_late_rows_of_the_others_do_not(checked):
    """What is wrong everywhere does not come from the new version."""
    workers, run = checked
    workers[0].late = 500
    code, found = await run("--worker", "dia-all-3/*")
    assert (code, found["freshness"]) == (0, "pass")


async def test_a_stopped_partition_of_the_canary_stops_the_upgrade(checked):
    """A version that does not know the format of the state stops its partitions."""
    workers, run = checked
    workers[3].stops = True
    code, found = await run("--worker", "dia-all-3/*")
    assert (code, found["stopped"], found["workers"]) == (1, "worse", "worse")


async def test_an_audit_without_an_answer_is_not_a_pass(checked, books):
    """Counters alone do not prove that the rows are right."""
    _, run = checked
    books.append(DependencyUnreachable("no shard answers"))
    code, found = await run("--worker", "dia-all-3/*")
    assert (code, found["audit"]) == (4, "unknown")


@pytest.mark.parametrize("pattern", ["dia-all-9/*", "*"])
async def test_a_choice_of_no_worker_or_of_all_is_unknown(checked, pattern):
    """A misspelt name must not look like a canary without faults."""
    _, run = checked
    code, found = await run("--worker", pattern)
    assert (code, found["workers"]) == (4, "unknown")


@pytest.mark.parametrize("words", [(), ("--partition", "metrics"), ("--partition", "t/x")])
async def test_a_canary_that_is_not_named_is_an_error_of_usage(checked, words):
    """The command cannot know which version is the new one."""
    _, run = checked
    code, found = await run(*words)
    assert (code, found) == (2, {})
