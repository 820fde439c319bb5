"""`dia doctor`: each finding names its next command, and the worst one decides the exit code."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from agents.app import app
from streams.cli import clients, main
from streams.cli.doctor import broker_check, doctor, machine, reach
from streams.cli.doctor.finding import DoctorFinding, FindingLevel
from streams.connect.broker.memory.broker import MemoryBroker
from streams.core.clock import SystemClock
from streams.core.errors import BrokerUnavailable, DependencyUnreachable, DiaError
from streams.core.settings import Settings
from streams.core.topics.topology import Topology
from streams.operate.topics.topics import apply, plan, wanted_topics


@pytest.fixture(autouse=True)
def _own_home(monkeypatch, tmp_path):
    """A home without a stack."""
    monkeypatch.setenv("DIA_HOME", str(tmp_path))


def _closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def _http_server(body: str, status: int = 200):
    """A server that answers every GET with ``body``."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *args: object) -> None:
            """Keeps the test's stderr clean."""

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://user:secret@127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def _ask(**settings: str) -> dict[str, DoctorFinding]:
    found = asyncio.run(reach.examine(Settings(**settings), app.topology))
    return {finding.check: finding for finding in found}


def test_without_addresses_it_names_the_command_that_starts_a_stack(capsys):
    """Without addresses nothing is broken: exit code 0, and `dia up` is named for each."""
    assert main(["doctor", "--json"]) == 0
    rows = {row["check"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    for check in ("kafka", "clickhouse", "redis"):
        assert rows[check]["level"] == "warning"
        assert "dia up" in rows[check]["next"]
    assert rows["python"]["level"] == rows["package names"]["level"] == "ok"


def test_addresses_without_an_answer_end_with_exit_4(monkeypatch, capsys):
    """All of them are listed with their addresses in one run."""
    port = _closed_port()
    monkeypatch.setenv("DIA_KAFKA_BOOTSTRAP", f"127.0.0.1:{port}")
    monkeypatch.setenv("DIA_CLICKHOUSE_SHARDS", f"http://127.0.0.1:{port}|http://127.0.0.1:{port}")
    monkeypatch.setenv("DIA_CLICKHOUSE_CLUSTER", "main")
    monkeypatch.setenv("DIA_REDIS_URL", f"redis://:secret@127.0.0.1:{port}/0")
    assert main(["doctor", "--json"]) == 4
    out, err = capsys.readouterr()
    rows = {row["check"]: row for row in map(json.loads, out.splitlines())}
    for check in ("kafka", "clickhouse 0.0", "clickhouse 0.1", "redis"):
        assert rows[check]["level"] == "unreachable"
        assert f"127.0.0.1:{port}" in rows[check]["detail"]
    assert rows["pipeline"]["detail"].startswith("lag and owners are unknown")
    assert "secret" not in out + err
    assert "kafka, clickhouse 0.0, clickhouse 0.1, redis not reachable" in err


def test_records_without_a_reader_are_a_failure(monkeypatch, capsys):
    """Every address answers and the pipeline makes no progress: exit code 1, with the next command."""
    broker = MemoryBroker(SystemClock())

    async def fill() -> None:
        await (await broker.admin()).create_topics(wanted_topics(app.topology))
        producer = broker.plain_producer()
        await producer.start()
        await (await producer.send("model.metrics", b"k", b"v"))
        await producer.close()

    async def reached(settings: Settings, topology: Topology) -> list[DoctorFinding]:
        return [DoctorFinding("kafka", FindingLevel.OK, "broker:9092")]

    asyncio.run(fill())
    monkeypatch.setenv("DIA_KAFKA_BOOTSTRAP", "broker:9092")
    monkeypatch.setattr(clients, "broker_of", lambda settings: broker)
    monkeypatch.setattr(reach, "examine", reached)
    assert main(["doctor", "--json"]) == 1
    out, err = capsys.readouterr()
    rows = {row["check"]: row for row in map(json.loads, out.splitlines())}
    found = rows["model.metrics: group_dead"]
    assert (found["level"], found["next"]) == ("failure", "dia worker")
    assert "model.metrics: group_dead" in err


async def test_topics_that_differ_are_named_and_larger_ones_are_accepted(monkeypatch):
    """A source with added partitions needs its companion topics; if they exist there is no finding."""
    broker = MemoryBroker(SystemClock())
    admin = await broker.admin()
    monkeypatch.setattr(clients, "broker_of", lambda settings: broker)
    await apply(admin, plan(app.topology, wanted_topics(app.topology), {}))
    await admin.create_partitions({"model.metrics": 6})
    [found] = await broker_check.examine_topics(
        Settings(kafka_bootstrap="broker:9092"), app.topology
    )
    assert found.level is FindingLevel.WARNING
    assert "model.metrics.dlq" in found.detail
    assert "dia topics apply" in found.mend
    await apply(
        admin, plan(app.topology, wanted_topics(app.topology), await admin.describe_topics())
    )
    [found] = await broker_check.examine_topics(
        Settings(kafka_bootstrap="broker:9092"), app.topology
    )
    assert (found.level, found.mend) == (FindingLevel.OK, "")
    assert "model.metrics partitions 6, declared 4" in found.detail


@pytest.mark.parametrize("silent", [True, False], ids=["silent", "refusing"])
async def test_what_kafka_did_not_tell_is_not_left_out(monkeypatch, silent):
    """Brokers that answer a greeting may not answer the rest, under load or without the rights. Without a row
    for it, the report said that all is well.
    """
    broker = MemoryBroker(SystemClock())
    admin = await broker.admin()
    await apply(admin, plan(app.topology, wanted_topics(app.topology), {}))
    monkeypatch.setattr(clients, "broker_of", lambda settings: broker)
    monkeypatch.setattr(broker_check, "TIMEOUT_S", 0.05)
    for call in ("admin", "read"):
        if silent:
            broker.faults.delay(call, 60.0)
        else:
            broker.faults.fail(call, BrokerUnavailable("not authorised"))
    settings = Settings(kafka_bootstrap="broker:9092")
    [topics] = await broker_check.examine_topics(settings, app.topology)
    assert (topics.check, topics.level) == ("topics", FindingLevel.UNREACHABLE)
    [keys] = await broker_check.examine_keys(settings, app.topology)
    assert (keys.check, keys.level) == ("keys", FindingLevel.WARNING)
    why = "no answer within 0.05 s" if silent else "not authorised"
    assert why in topics.detail
    assert why in keys.detail


def test_a_map_that_no_server_confirmed_is_not_called_well():
    """A user without the right to read `shard_maps`: the settings' map may lack shards that were added."""
    with _http_server(_clickhouse_answer()) as url:
        found = _ask(clickhouse_shards=url)["shard map"]
    assert found.level is FindingLevel.WARNING
    assert "no server says which shard maps it records" in found.detail


def _clickhouse_answer(*, ahead_s: float = 0, tables: int = 3) -> str:
    return f"26.9.1\t{(time.time() + ahead_s) * 1000:.0f}\t{tables}\n"


def test_a_shard_that_answers_is_shown_without_its_login():
    """A report may be pasted into a bug tracker."""
    with _http_server(_clickhouse_answer()) as url:
        found = _ask(clickhouse_shards=url)["clickhouse 0.0"]
    assert found.level is FindingLevel.OK
    assert "26.9.1" in found.detail
    assert "secret" not in found.detail


def test_a_shard_without_tables_needs_migrations():
    """A reachable shard without tables would refuse rows."""
    with _http_server(_clickhouse_answer(tables=0)) as url:
        found = _ask(clickhouse_shards=url)["clickhouse 0.0"]
    assert (found.level, found.mend) == (FindingLevel.WARNING, "dia migrate apply")


def test_clocks_that_differ_are_named():
    """With a clock ahead valid events seem to come from the future."""
    with _http_server(_clickhouse_answer(ahead_s=90)) as url:
        found = _ask(clickhouse_shards=url)["clickhouse 0.0"]
    assert found.level is FindingLevel.WARNING
    assert "differ by" in found.detail


def test_a_shard_that_refuses_the_login_is_unreachable_with_the_reason():
    """The server's message names the cause."""
    with _http_server("Code: 516. Authentication failed", status=403) as url:
        found = _ask(clickhouse_shards=url)["clickhouse 0.0"]
    assert found.level is FindingLevel.UNREACHABLE
    assert "Authentication failed" in found.detail


def test_an_invalid_address_is_a_finding_not_a_traceback():
    """Users type addresses."""
    found = _ask(clickhouse_shards="http://host:port", redis_url="redis://h:x/0")
    assert found["clickhouse 0.0"].level is FindingLevel.UNREACHABLE
    assert found["redis"].level is FindingLevel.UNREACHABLE


def test_a_taken_health_port_is_a_warning():
    """The port may be taken by a worker of this installation, so this is no failure."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = {f.check: f for f in machine.examine(Settings(http_port=port))}
        assert found["health port"].level is FindingLevel.WARNING
        assert "DIA_HTTP_PORT" in found["health port"].mend


def test_a_full_disk_is_a_failure(monkeypatch):
    """A broker on a full disk dies."""
    monkeypatch.setattr("streams.dev.local.disk.free_bytes", lambda folder: 1 << 20)
    found = {f.check: f for f in machine.examine(Settings())}
    assert found["disk"].level is FindingLevel.FAILURE


def test_other_distributions_with_package_names_of_dia_are_a_failure(monkeypatch):
    """PyTables also installs a package `tables`."""
    monkeypatch.setattr(machine, "foreign_owners", lambda names: {("tables", "tables")})
    found = {f.check: f for f in machine.examine(Settings())}
    assert found["package names"].level is FindingLevel.FAILURE
    assert "tables of tables" in found["package names"].detail


def test_the_worst_finding_decides():
    """Unreachable takes precedence over failure, failure over warning."""
    levels = {level: DoctorFinding(level.value, level, "") for level in FindingLevel}
    doctor.conclude([levels[FindingLevel.OK], levels[FindingLevel.WARNING]])
    with pytest.raises(DiaError) as failed:
        doctor.conclude([levels[FindingLevel.WARNING], levels[FindingLevel.FAILURE]])
    assert failed.value.exit_code == 1
    with pytest.raises(DependencyUnreachable):
        doctor.conclude(list(levels.values()))
