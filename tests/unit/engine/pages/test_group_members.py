"""A page whose key another host's worker has: that worker is asked, or named."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import asynccontextmanager

import pytest

from streams.connect.access.refusals import PageTimeout
from streams.connect.access.tokens import Role, TokenFile
from streams.connect.broker.memory.broker import MemoryBroker
from streams.core.clock import SystemClock
from streams.core.errors import BrokerUnavailable, UsageError
from streams.core.process.listener import bound
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics
from streams.core.types import GroupDescription, MemberDescription, TopicConfig, TopicPartition
from streams.engine.pages.desk import FORWARDED
from streams.engine.pages.group_members import GroupMembers
from streams.engine.pages.owners import KnownWorkers, WorkersHere, check_peers
from streams.engine.pages.page_tables import KeyPlace
from streams.engine.pages.serving import PageSite
from streams.engine.runtime.identity import member_id, place_of_member
from streams.engine.streams.page import PageRequest, PageResponse

PLACE = KeyPlace("g", "orders", 0)
ELSEWHERE = "127.0.0.1-0123456789ab-2"


class Listener:
    async def on_revoked(self, partitions):
        pass

    async def on_assigned(self, partitions):
        pass


@asynccontextmanager
async def _group(instance):
    """A broker whose group has one member, which has the partition."""
    broker = MemoryBroker(SystemClock())
    admin = await broker.admin()
    await admin.create_topics([TopicConfig("orders", 1, 1, {})])
    member = broker.consumer("g", ["orders"], instance)
    await member.start(Listener())
    try:
        async with asyncio.timeout(10):
            while not member.assignment():
                await member.getmany(0.01, 1)
        yield broker
    finally:
        await member.stop()


def _workers(broker, folder, peers="", first_port=0):
    members = GroupMembers(broker, SystemClock())
    return KnownWorkers(WorkersHere(folder, 0, "127.0.0.1"), members, peers, first_port)


def _status(state, slot, port, phase):
    (state / "workers").mkdir()
    held = {"group": "g", "topic": "orders", "partition": 0, "phase": phase}
    told = {"pid": os.getpid(), "slot": slot, "pages_port": port, "partitions": [held]}
    (state / "workers" / f"{slot}.json").write_text(json.dumps(told))


async def test_the_worker_of_another_host_is_named(tmp_path):
    """Without an address of other hosts, a client learns which host to ask."""
    async with _group(member_id(ELSEWHERE, ["orders"])) as broker:
        workers = _workers(broker, tmp_path)
        assert await workers.ask(PLACE, PageRequest("GET", "/a")) is None
        said = await workers.where(PLACE)
        assert "Partition 0 of orders belongs to the worker in slot 2 of host 127.0.0.1" in said
        assert "set DIA_PAGES_PEERS" in said
        assert await workers.where(KeyPlace("g", "orders", 1)) == ""
        assert await workers.where(KeyPlace("other", "orders", 0)) == ""


async def test_the_worker_of_another_host_is_asked_at_its_address(tmp_path):
    """Its port is that of slot 0 plus its slot; its answer is the page's."""
    listener = bound("127.0.0.1", 0, "DIA_PAGES_PORT")
    port, asked = listener.getsockname()[1], []

    class Desk:
        async def answer(self, request):
            asked.append(request)
            return PageResponse(b"there")

    settings, clock = Settings(home=str(tmp_path)), SystemClock()
    site = PageSite(Desk(), listener, settings, clock, Metrics())
    _, token = TokenFile.of(tmp_path).create(tenant=None, role=Role.ADMIN, now_ms=clock.now_ms())
    site.start()
    try:
        async with _group(member_id(ELSEWHERE, ["orders"])) as broker:
            workers = _workers(broker, tmp_path, "http://{host}:{port}", port - 2)
            shown = {"authorization": f"Bearer {token}"}
            answered = await workers.ask(PLACE, PageRequest("GET", "/a", headers=shown))
            assert (answered.status, answered.body) == (200, b"there")
            assert asked[0].headers[FORWARDED] == "1"
    finally:
        await site.stop()


async def test_a_host_that_gives_no_answer_is_named(tmp_path):
    """It may have died a moment ago; the group does not know it yet."""
    listener = bound("127.0.0.1", 0, "DIA_PAGES_PORT")
    port = listener.getsockname()[1]
    listener.close()
    async with _group(member_id(ELSEWHERE, ["orders"])) as broker:
        workers = _workers(broker, tmp_path, "http://{host}:{port}", port - 2)
        assert await workers.ask(PLACE, PageRequest("GET", "/a")) is None
        assert "It gave no answer: ask again" in await workers.where(PLACE)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "GET"])
async def test_only_a_page_that_reads_is_asked_for_twice(tmp_path, method):
    """The first worker may have run the page and died in its answer: what the page sends would double."""
    asked = []

    async def hang_up(reader, writer):
        asked.append((await reader.readline()).split()[0].decode())
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    _status(tmp_path, 2, port, "ready")
    try:
        async with _group(member_id(ELSEWHERE, ["orders"])) as broker:
            workers = _workers(broker, tmp_path, "http://{host}:{port}", port - 2)
            if method == "GET":
                assert await workers.ask(PLACE, PageRequest(method, "/a")) is None
                assert asked == ["GET", "GET"]
                return
            with pytest.raises(PageTimeout, match="may have happened"):
                await workers.ask(PLACE, PageRequest(method, "/a"))
            assert asked == [method]
    finally:
        server.close()
        await server.wait_closed()


async def test_a_worker_of_this_host_that_opens_the_partition_is_named(tmp_path):
    """It needs no question to Kafka, and the key is on no other host."""
    _status(tmp_path, 3, 1, "restoring")
    broker = Coordinator(member_id(ELSEWHERE, ["orders"]))
    workers = _workers(broker, tmp_path, "http://{host}:{port}")
    assert await workers.ask(PLACE, PageRequest("GET", "/a")) is None
    assert "The worker in slot 3 of this host opens its partition" in await workers.where(PLACE)
    assert broker.asked == 0


class Coordinator:
    """A broker that counts what is asked of its group."""

    def __init__(self, instance):
        self.asked = 0
        self.away = False
        self._instance = instance

    async def admin(self):
        return self

    async def describe_group(self, group):
        self.asked += 1
        if self.away:
            raise BrokerUnavailable("away")
        held = frozenset({TopicPartition("orders", 0)})
        return GroupDescription(
            group, stable=True, members=(MemberDescription("m", self._instance, held),)
        )

    async def close(self):
        pass


class Clock(SystemClock):
    at_s = 0.0

    def monotonic(self):
        return self.at_s


async def test_the_members_are_asked_for_once_in_five_seconds(tmp_path):
    """Anyone with a token may ask for keys of other hosts as fast as the rate of pages admits."""
    broker, clock = Coordinator(member_id("a.b-0123456789ab-0", ["orders"])), Clock()
    members = GroupMembers(broker, clock)
    for _ in range(3):
        assert (await members.of(PLACE)).host == "a.b"
    assert broker.asked == 1
    clock.at_s, broker.away = 5.0, True
    assert await members.of(PLACE) is None
    assert broker.asked == 2


@pytest.mark.parametrize(
    "member",
    [
        "",
        "console-consumer",
        "evil.example/@x-0123456789ab-0-01234567",
        "evil.example:80#-0123456789ab-0-01234567",
        "-0123456789ab-0-01234567",
        "host-0123456789ab-0-01234567\n",
    ],
)
def test_another_programs_member_has_no_place(member):
    """Each client chooses its member id, and a request with a token goes to the host that it names."""
    assert place_of_member(member) is None


@pytest.mark.parametrize(
    "peers",
    [
        "http://{host}:{port}",
        "https://workers:{port}",
        "https://{name}:{port}",
        "https://{host",
        "x",
    ],
)
def test_an_address_of_other_hosts_that_would_show_tokens_is_refused(peers):
    """In clear text, or to one host for all."""
    with pytest.raises(UsageError, match="DIA_PAGES_PEERS"):
        check_peers(peers)
    check_peers("")
    check_peers("https://{host}.workers.svc:{port}")
