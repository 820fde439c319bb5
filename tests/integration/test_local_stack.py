"""The local stack with its real services: start, disturbances, and complete removal."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from streams.cli import main
from streams.core import settings
from streams.core.errors import DependencyUnreachable, UsageError
from streams.core.process.file_lock import is_held
from streams.core.process.process import ProcessIdentity
from streams.dev.local.folder import StackFolder
from streams.dev.local.plan import remembered_plan
from streams.dev.local.ports import LOOPBACK
from streams.dev.local.roster import Roster, read_roster, write_roster
from streams.dev.local.stack import (
    StackStatus,
    down,
    restart_service,
    restart_shard,
    status,
    up,
)

pytestmark = pytest.mark.stack
DEADLINE_S = 200


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """One home for the module: data, ports and password survive from test to test. Its name has
    characters with a meaning in path lists, URIs and patterns."""
    folder = tmp_path_factory.mktemp("own") / 'a,b:c "d" \\ %25 \u00e9\nline?x=1'
    yield folder
    down(folder)


@pytest.fixture
def folder(home):
    """The stack's folder; the stack does not run before the test."""
    down(home)
    return StackFolder.of(home)


@pytest.fixture
def running(home):
    """A running stack: that of the test before, if it left one, since a start takes seconds of CPU."""
    return _start(home)


@pytest.fixture
def stopped(home, folder):
    """The folder of a stopped stack."""
    if not folder.plan.exists():
        _start(home)
        down(home)
    return folder


def _start(home: Path) -> Roster:
    up(home, shards=1, owner_pid=os.getpid())
    return read_roster(StackFolder.of(home))


def _processes(roster: Roster) -> list[ProcessIdentity]:
    return [roster.supervisor, *(entry.process for entry in roster.entries)]


def _await_gone(processes: list[ProcessIdentity]) -> None:
    assert all(process.wait_gone(DEADLINE_S) for process in processes)


def test_two_concurrent_ups_start_one_stack_and_down_removes_everything(home, folder):
    """The contract of both commands in one life of a stack; a user may run up in two terminals."""
    told: list[str] = []

    def start(_: int) -> StackStatus:
        return up(home, shards=1, progress=told.append, owner_pid=os.getpid())

    with ThreadPoolExecutor(2) as pool:
        running, other = pool.map(start, range(2))
    assert running.supervisor_pid == other.supervisor_pid
    assert running.ready
    assert other.ready
    assert [service.name for service in running.services] == ["kafka", "redis", "clickhouse-0"]
    assert any("kafka serves on" in line for line in told)
    loaded, _ = settings.load({"DIA_HOME": str(home)})
    assert loaded.kafka_bootstrap == running.kafka_bootstrap
    assert loaded.shards() == [[running.shards[0]]]
    assert stat.S_IMODE(Path(loaded.clickhouse_password_file).stat().st_mode) == 0o600
    processes = _processes(read_roster(folder))

    assert down(home)
    assert not any(process.alive() for process in processes)
    assert not folder.published.exists()
    assert not status(home).running
    assert not down(home)


def test_a_second_up_returns_the_running_stack(home, running):
    """Scripts call it without a check."""
    told: list[str] = []
    assert up(home, progress=told.append).ready
    assert "already running" in told[0]
    assert read_roster(StackFolder.of(home)) == running


@pytest.mark.parametrize("name", ["kafka", "redis"])
def test_a_killed_service_restarts_at_its_address(home, running, name):
    """After a crash of a service, the stack recovers by itself."""
    before = {entry.name: entry for entry in running.entries}
    restart_service(home, name, kill=True)
    found = status(home)
    assert found.ready
    after = {service.name: service for service in found.services}
    assert after[name].starts == before[name].starts + 1
    assert after[name].address == before[name].address
    assert after[name].reason == "was ended by SIGKILL"
    others = set(before) - {name}
    assert all(after[other].pid == before[other].process.pid for other in others)


@pytest.mark.parametrize("kill", [True, pytest.param(False, marks=pytest.mark.long)])
def test_a_shard_can_be_restarted_on_request(home, running, kill):
    """`dia demo --chaos` uses it, with SIGTERM and with SIGKILL."""
    restart_shard(home, 0, kill=kill)
    assert status(home).ready
    assert not running.entries[2].process.alive()
    with pytest.raises(UsageError, match="clickhouse-7"):
        restart_shard(home, 7)


def test_a_suspended_supervisor_continues(home, running):
    """A closed laptop lid, or Ctrl-Z in a container, must not stop the stack."""
    running.supervisor.send(signal.SIGSTOP)
    time.sleep(2.0)  # longer than the wait in which it was stopped
    running.supervisor.send(signal.SIGCONT)
    restart_service(home, "redis")
    after = read_roster(StackFolder.of(home))
    assert after.supervisor == running.supervisor
    untouched = {"kafka", "clickhouse-0"}
    assert [entry for entry in after.entries if entry.name in untouched] == [
        entry for entry in running.entries if entry.name in untouched
    ]


def test_status_names_a_hung_service(home, running, capsys):
    """The supervisor sees a hung process as alive; status sends a request to the service."""
    redis = running.entries[1].process
    redis.send(signal.SIGSTOP)
    try:
        assert main(["--home", str(home), "status"]) == 4
    finally:
        redis.send(signal.SIGCONT)
    assert "redis" in capsys.readouterr().err
    deadline = time.monotonic() + DEADLINE_S
    while not status(home).ready:
        assert time.monotonic() < deadline


def test_the_children_of_a_killed_supervisor_end(home, running):
    """kill -9 of the supervisor must not leave a broker running; `dia up` then starts again."""
    before = running
    before.supervisor.send(signal.SIGKILL)
    _await_gone(_processes(before))
    assert not status(home).running
    with pytest.raises(DependencyUnreachable, match="dia up"):
        restart_shard(home, 0)
    assert _start(home).supervisor != before.supervisor


def test_a_deleted_home_ends_the_stack(home, running, tmp_path):
    """`rm -rf` of a temporary folder ends many stacks, sometimes with a new one started in its
    place before the old one noticed."""
    home.rename(tmp_path / "gone")
    new = _start(home)
    _await_gone(_processes(running))
    assert all(process.alive() for process in _processes(new))
    assert read_roster(StackFolder.of(home)) == new
    assert StackFolder.of(home).published.exists()


async def test_topics_and_addresses_survive_a_restart(home, running):
    """Data, cluster id and ports are in the home. After a reboot, the pid of the old state file belongs to another
    process, which must not be touched."""
    first = status(home)
    admin = AIOKafkaAdminClient(bootstrap_servers=first.kafka_bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic("kept", num_partitions=3, replication_factor=1)])
    await admin.close()
    down(home)
    with _stranger(running, home) as stranger:
        assert not status(home).running
        second = up(home, owner_pid=os.getpid())
        assert read_roster(StackFolder.of(home)).supervisor.alive()
        assert stranger.poll() is None
    assert second.kafka_bootstrap == first.kafka_bootstrap
    admin = AIOKafkaAdminClient(bootstrap_servers=second.kafka_bootstrap)
    await admin.start()
    assert "kept" in await admin.list_topics()
    await admin.close()


@contextmanager
def _stranger(before: Roster, home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of another program that has the pids of the stack's state file."""
    with subprocess.Popen(["/bin/sleep", "600"]) as stranger:
        reused = replace(before.supervisor, pid=stranger.pid)
        entries = tuple(msgspec.structs.replace(entry, process=reused) for entry in before.entries)
        write_roster(StackFolder.of(home), Roster(supervisor=reused, entries=entries))
        try:
            yield stranger
        finally:
            stranger.kill()


def test_a_stack_ends_with_its_owner(home, folder):
    """A stack started by a test run or a demo must end if its owner is killed with SIGKILL."""
    with subprocess.Popen(["/bin/sleep", "600"]) as owner:
        up(home, shards=1, owner_pid=owner.pid)
        processes = _processes(read_roster(folder))
        owner.kill()
    _await_gone(processes)
    assert not folder.published.exists()


def test_a_busy_port_is_named_and_can_be_replaced(home, stopped):
    """Another program took it while the stack was stopped."""
    port = remembered_plan(stopped).brokers[0].port
    with socket.create_server((LOOPBACK, port)):
        with pytest.raises(DependencyUnreachable, match=rf"{port} of kafka.*--new-ports"):
            up(home)
        assert not stopped.roster.exists()
        moved = up(home, new_ports=True, owner_pid=os.getpid())
        assert moved.ready
        assert moved.kafka_bootstrap != f"{LOOPBACK}:{port}"


def test_a_service_that_cannot_start_is_named_with_its_log(home, stopped):
    """One message, exit code 4, and no process left running."""
    stopped.log("redis").unlink()
    stopped.log("redis").mkdir()
    try:
        with pytest.raises(DependencyUnreachable, match=r"(?s)redis does not.*redis\.log") as info:
            up(home, owner_pid=os.getpid())
    finally:
        stopped.log("redis").rmdir()
    assert info.value.exit_code == 4
    assert not status(home).running
    assert not stopped.published.exists()


def test_the_commands_work_from_any_working_directory(home, folder, tmp_path):
    """The supervisor and its children run in other directories than the caller."""
    root = str(Path(__file__).parents[2])
    run = [sys.executable, "-m", "streams", "--home", str(home)]
    environ = {**os.environ, "PYTHONPATH": root}
    done = subprocess.run(
        [*run, "up", "--bare", "--shards", "1", "--json"],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        check=True,
    )
    report = json.loads(done.stdout)
    assert [service["ready"] for service in report["services"]] == [True] * 3
    assert main(["--home", str(home), "status"]) == 0
    subprocess.run([*run, "down"], cwd=tmp_path, env=environ, check=True)
    assert main(["--home", str(home), "status"]) == 4


@pytest.mark.parametrize(
    "delay_s",
    [0.0, *(pytest.param(s, marks=pytest.mark.long) for s in (0.003, 0.03, 0.1, 1.0)), 0.3],
)
def test_an_interrupted_up_leaves_no_process(home, folder, delay_s):
    """Ctrl-C may come at any moment of a start, also during a fork; a partial stack must not
    remain."""
    run = [sys.executable, "-m", "streams", "--home", str(home), "up"]
    root = str(Path(__file__).parents[2])
    with subprocess.Popen(
        run, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as command:
        assert any(line.startswith("starting Kafka") for line in command.stderr)
        time.sleep(delay_s)
        command.send_signal(signal.SIGINT)
        assert command.wait(DEADLINE_S) == 130
    deadline = time.monotonic() + DEADLINE_S
    # A process that is ending loses its command line before its locks.
    while _named_with(home) or is_held(folder.supervisor_lock):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert not folder.roster.exists()
    assert not folder.published.exists()


def _named_with(home: Path) -> list[int]:
    """Every process with the home in its command line."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and str(home).encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def test_the_session_stack_has_two_shards(stack):
    """All other stack tests of the session use it."""
    assert stack.kafka_bootstrap
    assert len(stack.shards) >= 1
