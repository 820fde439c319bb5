"""`dia status`: its JSON for programs, and its exit code."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time

import msgspec
import pytest

from agents.app import app
from streams.cli import clients, main
from streams.connect.broker.memory.broker import MemoryBroker
from streams.core.clock import SystemClock
from streams.core.errors import BrokerUnavailable
from streams.engine.health.live_workers import LiveWorker, live_workers, pipeline_settled
from streams.operate.topics.topics import wanted_topics


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    """A home without a stack and an environment without addresses."""
    for name in [name for name in os.environ if name.startswith("DIA_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DIA_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def broker(monkeypatch):
    """A broker with every topic, named in the environment, without records and groups."""
    made = MemoryBroker(SystemClock())

    async def prepare() -> None:
        await (await made.admin()).create_topics(wanted_topics(app.topology))

    asyncio.run(prepare())
    monkeypatch.setenv("DIA_KAFKA_BOOTSTRAP", "broker:9092")
    monkeypatch.setattr(clients, "broker_of", lambda settings: made)
    return made


def _produce(broker, count):
    async def produce() -> None:
        producer = broker.plain_producer()
        await producer.start()
        await (await producer.send_many("model.metrics", [b"k"] * count, [b"v"] * count))
        await producer.close()

    asyncio.run(produce())


def _write_worker(home, slot, *, pid=None, age_s=0.0, **fields):
    folder = home / "state" / "workers"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{slot}.json"
    said = {"pid": pid or os.getpid(), "slot": slot, "partitions": [], "ready": True, **fields}
    path.write_text(json.dumps(said))
    written = time.time() - age_s
    os.utime(path, (written, written))


def test_without_a_stack_it_answers_and_exits_4(home, capsys):
    """A script must distinguish a missing stack from a healthy one."""
    assert main(["status", "--json"]) == 4
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert (report["bootstrap"], report["shards"], report["workers"]) == ("", [], [])
    assert report["settled"] is False
    assert "dia up" in captured.err


def test_addresses_of_others_are_reported_as_the_contract_says(broker, monkeypatch, capsys):
    """The fields are the same for a real cluster."""
    monkeypatch.setenv("DIA_CLICKHOUSE_SHARDS", "http://a:1|http://b:2,http://c:3")
    monkeypatch.setenv("DIA_CLICKHOUSE_CLUSTER", "main")
    monkeypatch.setenv("DIA_REDIS_URL", "redis://cache:6379/0")
    assert main(["status", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["bootstrap"] == "broker:9092"
    assert report["redis"] == "redis://cache:6379/0"
    assert [shard["urls"] for shard in report["shards"]] == [
        ["http://a:1", "http://b:2"],
        ["http://c:3"],
    ]
    assert {"user", "password_file"} <= report["shards"][0].keys()


def test_addresses_of_a_dead_stack_are_not_reported(home, capsys):
    """A machine that lost power leaves the file with addresses, which do not answer."""
    (home / "stack").mkdir()
    (home / "stack" / "settings.json").write_text('{"kafka_bootstrap": "127.0.0.1:1"}')
    assert main(["status", "--json"]) == 4
    assert json.loads(capsys.readouterr().out)["bootstrap"] == ""


SOURCE = {"group": "g", "topic": "model.metrics", "partitions": 2}


def _held(*partitions):
    return [{"group": "g", "topic": "model.metrics", "partition": p} for p in partitions]


def test_unread_records_without_a_worker_are_red(broker, capsys):
    """20,000 records wait and no worker reads them: exit code 1, the lag, and the next command."""
    _produce(broker, 20_000)
    assert main(["status", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["health"]["verdict"] == "red"
    assert report["health"]["lag_records"] == 20_000
    assert report["degradation"] is None
    [red] = [one for one in report["health"]["findings"] if one["severity"] == "red"]
    assert (red["code"], red["subject"]) == ("group_dead", "model.metrics")
    assert main(["status"]) == 1
    out, err = capsys.readouterr()
    lines = [line.split() for line in out.splitlines()]
    assert ["dia-group", "model.metrics", "4", "0", "20000"] in lines
    assert "dia worker" in out
    assert "group_dead (model.metrics)" in err


def test_an_unavailable_lag_is_unknown_and_not_zero(broker, monkeypatch, capsys):
    """Exit code 4 and null: a script must not take a missing answer for an empty queue."""

    async def away(self):
        raise BrokerUnavailable("connect at broker:9092: no answer")

    monkeypatch.setattr(MemoryBroker, "admin", away)
    assert main(["status", "--json"]) == 4
    health = json.loads(capsys.readouterr().out)["health"]
    assert (health["verdict"], health["lag_records"]) == ("unknown", None)
    assert {one["code"] for one in health["findings"]} == {"lag_unknown"}


def test_live_workers_are_reported(home, broker, capsys):
    """`--json` shows the worker's own status and its age."""
    said = {"settled": True, "partitions": _held(0, 1), "sources": [SOURCE], "http_port": 1234}
    _write_worker(home, 0, **said)
    assert main(["status", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    well = {"level": 0, "since_ms": 0, "causes": []}
    assert [worker.pop("silent_s") >= 0 for worker in report["workers"]] == [True]
    assert report["workers"] == [
        {
            "pid": os.getpid(),
            "slot": 0,
            "ready": True,
            "pool_changes": [],
            "degradation": well,
            "pages_port": None,
            **said,
        }
    ]
    assert report["settled"] is True


def test_files_of_dead_workers_are_ignored(home):
    """The file of a worker killed by -9 says "ready" without end."""
    with subprocess.Popen(["/bin/true"]) as gone:
        gone.wait()
    _write_worker(home, 0, pid=gone.pid)
    assert live_workers(home / "state") == []


def test_a_foreign_process_with_a_dead_workers_pid_is_ignored(home):
    """A process that started after the file was written cannot be its author."""
    _write_worker(home, 0, age_s=10 * 365 * 86_400.0)
    assert live_workers(home / "state") == []


@pytest.mark.parametrize("content", [b"", b'{"pid": 1', b'{"slot": 0}', b"[]"])
def test_a_file_of_another_form_is_ignored(home, content):
    """Status must work while a worker of another version starts."""
    _write_worker(home, 1)
    (home / "state" / "workers" / "0.json").write_bytes(content)
    assert [worker.slot for worker in live_workers(home / "state")] == [1]


@pytest.mark.parametrize(
    ("said", "settled"),
    [([], False), ([True, True], True), ([True, False], False), ([True], False)],
)
def test_settled_needs_every_partition_held_and_every_worker_done(said, settled):
    """A pipeline without workers has no pending work and is not settled; nor is one with a
    partition without an owner.
    """
    workers = [
        LiveWorker(pid=1, slot=slot, settled=each, partitions=_held(slot), sources=[SOURCE])
        for slot, each in enumerate(said)
    ]
    assert pipeline_settled(workers) is settled
    silent = [msgspec.structs.replace(worker, silent_s=100.0) for worker in workers]
    assert not pipeline_settled(silent)


def test_down_without_a_stack_succeeds(home, capsys):
    """`dia down` in a clean-up path runs whether or not a stack was started."""
    assert main(["down"]) == 0
    assert "no local stack" in capsys.readouterr().err
    assert list(home.iterdir()) == []


def test_text_output_shows_each_partition_with_its_phase_and_lag(home, broker, capsys):
    """For "not settled" the user needs the partition and its reason."""
    held = {"group": "g", "topic": "model.metrics", "paused": False, "stopped_by": None}
    stopped = {"partition": 0, "phase": "stopped", "lag": None, "stopped_by": "changelog_gap"}
    behind = {"partition": 1, "phase": "ready", "lag": 17, "paused": True}
    _write_worker(home, 0, partitions=[{**held, **behind}, {**held, **stopped}])
    assert main(["status"]) == 1, "a stopped partition must give exit code 1"
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["g", "model.metrics", "0", "stopped", "changelog_gap", "0"] in lines
    assert ["g", "model.metrics", "1", "ready", "17", "paused", "0"] in lines


def test_the_worst_worker_decides_the_status_of_the_host(home, broker, capsys):
    """An operator on call looks for cause and duration first."""
    cause = {"signal": "clickhouse-0", "level": 2, "why": "it is away", "since_ms": 1000}
    stands = {"level": 2, "since_ms": 1000, "causes": [cause]}
    _write_worker(home, 0, degradation={"level": 0, "since_ms": 9, "causes": []})
    _write_worker(home, 1, degradation=stands)
    assert main(["status", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["degradation"] == stands
    assert [worker["degradation"]["level"] for worker in report["workers"]] == [0, 2]
    assert main(["status"]) == 0
    said = capsys.readouterr().err
    assert "level 2 of degradation since 1970-01-01T00:00:01Z" in said
    assert "2 clickhouse-0: it is away" in said
