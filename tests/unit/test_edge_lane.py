"""A lane at its bounds, and in a folder that is not what it was."""

from __future__ import annotations

import asyncio
import shutil
from typing import Self

import pytest

from streams.access.refusals import NotStored, Overloaded
from streams.broker.memory import MemoryBroker
from streams.clock import SystemClock
from streams.edge.lane import Bounds, Lane
from streams.edge.numbering import Numbering
from streams.edge.shipment import Shipper
from streams.edge.spool import Spool
from streams.errors import SlotInUse, SpoolCorrupt
from streams.telemetry.metrics import Metrics
from streams.types import TopicConfig, TopicPartition

BOUNDS = Bounds(inflight_bytes=1000, spool_bytes=2000)


class Edge:
    """A lane on a folder, run as a process would, over one broker in memory."""

    def __init__(self, broker, folder) -> None:
        self.numbering = Numbering(folder)
        self.spool = Spool(folder / "blocks", self.numbering.seed)
        self.lane = Lane(
            "t",
            shipper=Shipper(broker, "t", SystemClock()),
            spool=self.spool,
            numbering=self.numbering,
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
        self.numbering.close()

    async def straight(self) -> None:
        async with asyncio.timeout(30):
            while not self.lane.straight:  # noqa: ASYNC110 - polled: a lane tells nobody
                await asyncio.sleep(0.01)


@pytest.fixture
async def broker() -> MemoryBroker:
    made = MemoryBroker(SystemClock())
    await (await made.admin()).create_topics([TopicConfig("t", 1, 1, {})])
    return made


def in_the_log(broker) -> list[bytes | None]:
    return broker.log(TopicPartition("t", 0)).read_committed(0, 999).values


async def test_with_a_broker_events_go_straight_into_the_log(broker, tmp_path):
    """The spool is for bad times: in good ones an answer means that consumers see the events."""
    async with Edge(broker, tmp_path) as edge:
        await edge.straight()
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
        await edge.straight()
        assert in_the_log(broker) == [b"x" * 900] * 2
        assert await edge.lane.keep([b"k"], [b"y" * 900]) == "log"


async def test_more_than_may_be_on_its_way_is_refused(broker, tmp_path):
    """Memory is bounded by what is refused, not by how fast the broker happens to be."""
    async with Edge(broker, tmp_path) as edge:
        await edge.straight()
        first = asyncio.create_task(edge.lane.keep([b"k"], [b"x" * 900]))
        await asyncio.sleep(0)
        with pytest.raises(Overloaded, match="on its way"):
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
        await edge.straight()
        assert in_the_log(broker) == [b"2"]


async def test_a_folder_restored_from_a_copy_loses_no_new_event(broker, tmp_path):
    """Its numbers were used before: taken for those in the log, new events would be skipped."""
    folder, copy = tmp_path / "edge", tmp_path / "copy"
    async with Edge(broker, folder):
        shutil.copytree(folder, copy)
    for value in (b"1", b"2"):
        # Two more runs: their numbers lie far behind those of the copy.
        async with Edge(broker, folder) as edge:
            await edge.straight()
            await edge.lane.keep([b"k"], [value])
    shutil.rmtree(folder)
    shutil.copytree(copy, folder)
    broker.faults.down()
    async with Edge(broker, folder) as edge:
        assert await edge.lane.keep([b"k"], [b"3"]) == "spool"
        broker.faults.up()
        await edge.straight()
    assert in_the_log(broker) == [b"1", b"2", b"3"]


def test_one_process_holds_a_folder(tmp_path):
    """Two would fence each other for ever, and write over each other's segments."""
    held = Numbering(tmp_path)
    with pytest.raises(SlotInUse, match="another edge process"):
        Numbering(tmp_path)
    held.close()
    Numbering(tmp_path).close()


def test_no_number_is_given_twice_over_restarts(tmp_path, monkeypatch):
    """A number that came back would be taken for a block that is in the log."""
    monkeypatch.setattr("streams.edge.numbering.RANGE", 3)
    taken: list[int] = []
    for count in (1, 7, 3, 2):
        numbering = Numbering(tmp_path)
        taken += [numbering.take() for _ in range(count)]
        numbering.close()
    assert taken == sorted(set(taken))


def test_unreadable_numbers_stop_the_edge(tmp_path):
    """Beginning at zero again would skip events in silence."""
    Numbering(tmp_path).close()
    (tmp_path / "numbers.json").write_text("{")
    with pytest.raises(SpoolCorrupt, match="Move its folder"):
        Numbering(tmp_path)
