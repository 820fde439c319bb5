"""A lane at its bounds, and in a folder that is not what it was."""

from __future__ import annotations

import asyncio
import shutil
from typing import Self

import pytest
from structlog.testing import capture_logs

from streams.connect.access.refusals import NotStored, Overloaded
from streams.connect.broker.memory.broker import MemoryBroker
from streams.core.clock import SystemClock, VirtualClock
from streams.core.errors import BrokerUnavailable, CommitInDoubt, SlotInUse, SpoolCorrupt
from streams.core.telemetry.metrics import Metrics
from streams.core.types import OutboundRecord, TopicConfig, TopicPartition
from streams.http.edge.edge_run import EdgeRun
from streams.http.edge.request_batch import RequestBatch
from streams.http.edge.shipment import UNDECIDED_S, Shipper
from streams.http.edge.spool import Spool
from streams.http.edge.topic_publisher import PublisherBounds, TopicPublisher

BOUNDS = PublisherBounds(inflight_bytes=2000, spool_bytes=4000)


class Edge:
    """A lane on a folder, run as a process would, over one broker in memory."""

    def __init__(self, broker, folder) -> None:
        self.file = folder / "edge.json"
        self.run = EdgeRun(folder)
        self.spool = Spool(folder / "blocks", self.run.seed)
        self.lane = TopicPublisher(
            "t",
            shipper=Shipper(broker, "t", SystemClock()),
            spool=self.spool,
            run=self.run,
            clock=SystemClock(),
            metrics=Metrics().edge,
            bounds=BOUNDS,
        )

    async def __aenter__(self) -> Self:
        self.task = asyncio.create_task(self.lane.run())
        return self

    async def __aexit__(self, *stopped: object) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        self.run.close()

    async def claimed(self) -> None:
        """The lane's thread has written this start's name; it would write it after a cancel, too."""
        async with asyncio.timeout(200):
            while self.run.name not in self.file.read_text():  # noqa: ASYNC110 - another thread's file
                await asyncio.sleep(0.01)

    async def direct(self) -> None:
        async with asyncio.timeout(200):
            while not self.lane.direct:  # noqa: ASYNC110 - polled: a lane tells nobody
                await asyncio.sleep(0.01)


@pytest.fixture
async def broker() -> MemoryBroker:
    made = MemoryBroker(SystemClock())
    await (await made.admin()).create_topics([TopicConfig("t", 1, 1, {})])
    return made


def in_the_log(broker) -> list[bytes | None]:
    return broker.log(TopicPartition("t", 0)).read_committed(0, 999).values


async def test_blocks_that_kafka_aborted_under_a_committed_count_are_sent_again(broker):
    """The count of blocks says that they are in the log, and they are not: their sender was told
    that they are kept."""
    shipper = Shipper(broker, "t", SystemClock())
    assert await shipper.connect("e") is None
    await shipper.ship([RequestBatch("e", 0, [b"k"], [b"0"])])
    broker.faults.tear_commit(offsets_stand=True)
    with pytest.raises(CommitInDoubt):
        await shipper.ship(
            [RequestBatch("e", 1, [b"k"], [b"1"]), RequestBatch("e", 2, [b"k"], [b"2"])]
        )
    assert await shipper.connect("e") == 1
    await shipper.ship([RequestBatch("e", 1, [b"k"], [b"1"]), RequestBatch("e", 2, [b"k"], [b"2"])])
    assert await shipper.connect("e") == 3
    assert in_the_log(broker) == [b"0", b"1", b"2"]
    await shipper.close()


async def test_another_producers_open_transaction_keeps_no_edge_away(broker):
    """It may stay open for ever. An answered commit needs no look at the log; a new process looks,
    and gives up after a minute."""
    clock = VirtualClock()
    other = broker.transactional_producer("other")
    await other.start()
    await other.begin()
    await (await other.send(OutboundRecord(TopicPartition("t", 0), b"k", b"open")))
    shipper = Shipper(broker, "t", clock)
    await shipper.connect("e")
    await shipper.ship([RequestBatch("e", 0, [b"k"], [b"0"])])
    assert await shipper.connect("e") == 1
    anew = Shipper(broker, "t", clock)
    with pytest.raises(BrokerUnavailable, match="not decided"):
        await anew.connect("e")
    await clock.advance(UNDECIDED_S + 1)
    assert await anew.connect("e") == 1
    await shipper.close()
    await anew.close()


async def test_with_a_broker_events_go_straight_into_the_log(broker, tmp_path):
    """The spool is for bad times: in good ones an answer means that consumers see the events."""
    async with Edge(broker, tmp_path) as edge:
        await edge.direct()
        assert await edge.lane.keep([b"k", b"k"], [b"1", b"2"]) == "log"
        assert in_the_log(broker) == [b"1", b"2"]
        assert edge.lane.spool_bytes == 0


async def test_without_a_broker_the_spool_takes_what_it_may_and_then_says_so(broker, tmp_path):
    """429 is the honest answer of a full disk budget; nothing of a refused block is kept."""
    broker.faults.down()
    async with Edge(broker, tmp_path) as edge:
        for _ in range(2):
            assert await edge.lane.keep([b"k"], [b"x" * 900]) == "spool"
        with pytest.raises(Overloaded, match="spool is full") as refused:
            await edge.lane.keep([b"k"], [b"y" * 900])
        assert refused.value.retry_after_s
        broker.faults.up()
        await edge.direct()
        assert in_the_log(broker) == [b"x" * 900] * 2
        assert await edge.lane.keep([b"k"], [b"y" * 900]) == "log"


async def test_a_full_spool_of_one_tenant_takes_anothers_events(broker, tmp_path):
    """While Kafka is away one sender could use up the disk of all (A76). What a start finds on the
    disk counts as what it took itself."""
    broker.faults.down()
    async with Edge(broker, tmp_path) as edge:
        while True:
            try:
                await edge.lane.keep([b"greedy"], [b"x" * 400])
            except Overloaded:
                break
        assert await edge.lane.keep([b"modest"], [b"y" * 200]) == "spool"
    async with Edge(broker, tmp_path) as edge:
        with pytest.raises(Overloaded, match="full for this tenant"):
            await edge.lane.keep([b"greedy"], [b"x" * 400])
        assert await edge.lane.keep([b"modest"], [b"y" * 40]) == "spool"
        with pytest.raises(Overloaded):
            await edge.lane.keep([b"modest", b"greedy"], [b"y", b"x" * 400])
        broker.faults.up()
        await edge.direct()
        assert await edge.lane.keep([b"greedy"], [b"x" * 900]) == "log"
        assert edge.spool.held == {}


async def test_one_tenants_events_on_their_way_leave_room_for_anothers(broker, tmp_path):
    """A sender that posts faster than the broker commits fills its own share only."""
    async with Edge(broker, tmp_path) as edge:
        await edge.direct()
        asked = [asyncio.create_task(edge.lane.keep([b"greedy"], [b"x" * 100])) for _ in range(20)]
        await asyncio.sleep(0)
        assert await edge.lane.keep([b"modest"], [b"y" * 200]) == "log"
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(answer) for answer in answers} == {str, Overloaded}


async def test_more_than_may_be_on_its_way_is_refused(broker, tmp_path):
    """Memory is bounded by what is refused, not by how fast the broker happens to be."""
    async with Edge(broker, tmp_path) as edge:
        await edge.direct()
        first = asyncio.create_task(edge.lane.keep([b"k"], [b"x" * 900]))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="in flight"):
            await edge.lane.keep([b"k"], [b"y" * 900])
        assert await first == "log"


async def test_a_disk_that_refuses_is_not_called_stored(broker, tmp_path, monkeypatch):
    """Neither the broker nor the disk has it: 503, and the next one may succeed."""
    broker.faults.down()
    async with Edge(broker, tmp_path) as edge:

        def full(blocks) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(edge.spool, "append", full)
            with pytest.raises(NotStored, match="No space"):
                await edge.lane.keep([b"k"], [b"1"])
        assert await edge.lane.keep([b"k"], [b"2"]) == "spool"
        broker.faults.up()
        await edge.direct()
        assert in_the_log(broker) == [b"2"]


async def test_a_folder_restored_from_a_copy_loses_no_new_event(broker, tmp_path):
    """Its numbers were used before: taken for those in the log, new events would be skipped."""
    folder, copy = tmp_path / "edge", tmp_path / "copy"
    async with Edge(broker, folder):
        shutil.copytree(folder, copy)
    for value in (b"1", b"2"):
        # Two more runs: their numbers lie far behind those of the copy.
        async with Edge(broker, folder) as edge:
            await edge.direct()
            await edge.lane.keep([b"k"], [value])
    shutil.rmtree(folder)
    shutil.copytree(copy, folder)
    broker.faults.down()
    async with Edge(broker, folder) as edge:
        assert await edge.lane.keep([b"k"], [b"3"]) == "spool"
        broker.faults.up()
        await edge.direct()
    assert in_the_log(broker) == [b"1", b"2", b"3"]


async def test_two_living_edges_on_copies_of_one_folder_lose_and_double_nothing(broker, tmp_path):
    """A volume is cloned while its edge runs: what both have is in the log once, and what each of
    them answers after that is there too."""
    broker.faults.down()
    async with Edge(broker, tmp_path / "one") as one:
        assert await one.lane.keep([b"k"], [b"both"]) == "spool"
        await one.claimed()
        shutil.copytree(tmp_path / "one", tmp_path / "two")
        async with Edge(broker, tmp_path / "two") as two:
            for edge, value in ((one, b"1"), (two, b"2"), (one, b"3"), (two, b"4"), (two, b"5")):
                assert await edge.lane.keep([b"k"], [value]) == "spool"
            broker.faults.up()
            await one.direct()
            await two.direct()
            await one.lane.keep([b"k"], [b"6"])
            await two.lane.keep([b"k"], [b"7"])
            await one.direct()
            await two.direct()
    assert sorted(in_the_log(broker)) == [b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"both"]


async def test_an_edge_whose_folder_was_copied_notices(broker, tmp_path):
    """The copy fences it once: an operator finds a word of it in the log."""
    with capture_logs() as logs:
        async with Edge(broker, tmp_path / "one") as one:
            await one.direct()
            shutil.copytree(tmp_path / "one", tmp_path / "two")
            async with Edge(broker, tmp_path / "two") as two:
                await two.direct()
                assert await one.lane.keep([b"k"], [b"1"]) == "spool"
                await one.direct()
                assert await one.lane.keep([b"k"], [b"2"]) == "log"
                assert two.lane.direct
    assert in_the_log(broker) == [b"1", b"2"]
    assert [log["name"] for log in logs if log["event"] == "edge_fenced"] == [one.run.name]


def test_one_process_holds_a_folder(tmp_path):
    """Two would write over each other's segments."""
    held = EdgeRun(tmp_path)
    with pytest.raises(SlotInUse, match="another edge process"):
        EdgeRun(tmp_path)
    held.close()
    EdgeRun(tmp_path).close()


def test_every_start_has_a_name_of_its_own_and_knows_who_has_to_be_fenced(tmp_path):
    """Numbers begin again with each name: two starts of one name would share them. A start that
    never connected has no transaction, and does not make the one before it forgotten."""
    names, before = [], ""
    for connects in (False, True, False, False, True):
        run = EdgeRun(tmp_path)
        assert run.before == before
        assert [run.take() for _ in range(3)] == [0, 1, 2]
        names.append(run.name)
        if connects:
            run.claim()
            before = run.name
        run.close()
    assert len(set(names)) == 5


async def test_a_spool_without_its_key_stops_the_edge(broker, tmp_path):
    """Under another key every frame looks like a torn end, and what was answered would be cut."""
    broker.faults.down()
    async with Edge(broker, tmp_path) as edge:
        assert await edge.lane.keep([b"k"], [b"1"]) == "spool"
        await edge.claimed()
    (tmp_path / "edge.json").unlink()
    with pytest.raises(SpoolCorrupt, match="checksum key"):
        EdgeRun(tmp_path)


def test_an_unreadable_folder_stops_the_edge(tmp_path):
    """With another checksum key what its spool holds would look damaged."""
    EdgeRun(tmp_path).close()
    (tmp_path / "edge.json").write_text("{")
    with pytest.raises(SpoolCorrupt, match="Restore it, or move its folder"):
        EdgeRun(tmp_path)
