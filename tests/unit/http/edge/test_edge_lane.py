"""An edge lane at its bounds, and on a folder with unexpected contents."""

from __future__ import annotations

import asyncio
import shutil
from typing import Self

import pytest
from structlog.testing import capture_logs

from streams.connect.access.refusals import NotStored, Overloaded
from streams.connect.broker.memory.broker import MemoryBroker
from streams.core.clock import SystemClock, VirtualClock
from streams.core.command_errors import SpoolCorrupt
from streams.core.errors import BrokerUnavailable, CommitInDoubt, SlotInUse
from streams.core.telemetry.metrics import Metrics
from streams.core.types import OutboundRecord, TopicConfig, TopicPartition
from streams.http.edge.edge_run import EdgeRun
from streams.http.edge.request_batch import RequestBatch
from streams.http.edge.shipment import UNDECIDED_S, Shipper
from streams.http.edge.spool import Spool
from streams.http.edge.topic_publisher import PublisherBounds, TopicPublisher

BOUNDS = PublisherBounds(inflight_bytes=2000, spool_bytes=4000)


class Edge:
    """A lane on a folder, run as in a process, on one memory broker."""

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
        """Wait until the lane's thread has written the name of this start, which it would also do
        after a cancellation.
        """
        async with asyncio.timeout(200):
            while self.run.name not in self.file.read_text():  # noqa: ASYNC110 - another thread's file
                await asyncio.sleep(0.01)

    async def direct(self) -> None:
        async with asyncio.timeout(200):
            while not self.lane.direct:  # noqa: ASYNC110 - a lane has no notification
                await asyncio.sleep(0.01)


@pytest.fixture
async def broker() -> MemoryBroker:
    made = MemoryBroker(SystemClock())
    await (await made.admin()).create_topics([TopicConfig("t", 1, 1, {})])
    return made


def in_the_log(broker) -> list[bytes | None]:
    return broker.log(TopicPartition("t", 0)).read_committed(0, 999).values


async def test_blocks_that_kafka_aborted_under_a_committed_count_are_sent_again(broker):
    """The committed count says that the blocks are in the log, which they are not, although their
    sender got a 202.
    """
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


async def test_an_open_transaction_of_another_producer_does_not_block_an_edge(broker):
    """The transaction may stay open without a limit. After an answered commit the log is not read;
    a new process reads it and gives up after 60 s.
    """
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


async def test_with_a_broker_events_go_directly_to_the_log(broker, tmp_path):
    """The spool is for outages; without one the answer means that consumers see the events."""
    async with Edge(broker, tmp_path) as edge:
        await edge.direct()
        assert await edge.lane.keep([b"k", b"k"], [b"1", b"2"]) == "log"
        assert in_the_log(broker) == [b"1", b"2"]
        assert edge.lane.spool_bytes == 0


async def test_without_a_broker_the_spool_is_filled_and_then_answers_429(broker, tmp_path):
    """The answer is 429 when the disk budget is used up, and a refused block is not stored."""
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


async def test_a_full_spool_of_one_tenant_accepts_events_of_another(broker, tmp_path):
    """While Kafka is away one sender must not use up the disk for all. Blocks found at the start
    count like new ones.
    """
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


async def test_events_of_one_tenant_in_flight_leave_room_for_another(broker, tmp_path):
    """A sender that posts faster than the broker commits fills only its own share."""
    async with Edge(broker, tmp_path) as edge:
        await edge.direct()
        asked = [asyncio.create_task(edge.lane.keep([b"greedy"], [b"x" * 100])) for _ in range(20)]
        await asyncio.sleep(0)
        assert await edge.lane.keep([b"modest"], [b"y" * 200]) == "log"
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(answer) for answer in answers} == {str, Overloaded}


async def test_blocks_beyond_the_bound_in_flight_are_refused(broker, tmp_path):
    """The bound applies whatever the speed of the broker."""
    async with Edge(broker, tmp_path) as edge:
        await edge.direct()
        first = asyncio.create_task(edge.lane.keep([b"k"], [b"x" * 900]))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="in flight"):
            await edge.lane.keep([b"k"], [b"y" * 900])
        assert await first == "log"


async def test_a_block_that_the_disk_refuses_is_not_reported_as_stored(
    broker, tmp_path, monkeypatch
):
    """Neither broker nor disk has the block: the answer is 503, and the next request may succeed."""
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
    """The sequence numbers of the copy were used before: new events under them must not count as
    already in the log.
    """
    folder, copy = tmp_path / "edge", tmp_path / "copy"
    async with Edge(broker, folder):
        shutil.copytree(folder, copy)
    for value in (b"1", b"2"):
        # Two more runs, so that their numbers are far beyond those of the copy.
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


async def test_two_running_edges_on_copies_of_one_folder_lose_and_double_no_event(broker, tmp_path):
    """A volume is cloned while its edge runs: blocks on both are in the log once, and so is every
    event that either accepts afterwards.
    """
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
    """The copy fences it once, and the log says so."""
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


def test_only_one_process_holds_a_folder(tmp_path):
    """Two processes would overwrite each other's segments."""
    held = EdgeRun(tmp_path)
    with pytest.raises(SlotInUse, match="another edge process"):
        EdgeRun(tmp_path)
    held.close()
    EdgeRun(tmp_path).close()


def test_every_start_has_its_own_name_and_knows_the_one_to_fence(tmp_path):
    """Sequence numbers begin again with each name, so two starts must not share one. A start that
    never connected has no transaction and does not replace the one before it.
    """
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
    """Under another key every frame looks like a torn end, and accepted events would be cut off."""
    broker.faults.down()
    async with Edge(broker, tmp_path) as edge:
        assert await edge.lane.keep([b"k"], [b"1"]) == "spool"
        await edge.claimed()
    (tmp_path / "edge.json").unlink()
    with pytest.raises(SpoolCorrupt, match="checksum key"):
        EdgeRun(tmp_path)


def test_an_unreadable_folder_stops_the_edge(tmp_path):
    """With another checksum key the contents of the spool would look damaged."""
    EdgeRun(tmp_path).close()
    (tmp_path / "edge.json").write_text("{")
    with pytest.raises(SpoolCorrupt, match="Restore it, or move its folder"):
        EdgeRun(tmp_path)
