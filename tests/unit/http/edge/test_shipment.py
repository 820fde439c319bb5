"""One shipper beside its broker: connections, added partitions, and commits without an outcome."""

from __future__ import annotations

import asyncio

import pytest

from streams.connect.broker.memory.broker import MemoryBroker
from streams.connect.broker.partitioner import partition_of
from streams.core.clock import SystemClock, VirtualClock
from streams.core.errors import BrokerUnavailable, CommitInDoubt, UnknownTopic
from streams.core.types import OutboundRecord, TopicConfig, TopicPartition
from streams.http.edge import shipment
from streams.http.edge.request_batch import RequestBatch
from streams.http.edge.shipment import Shipper

LATE_S = 100.0
"""Seconds since the clock began: no moment is 0."""
COUNTED_S = 30.0
"""In seconds: added partitions are used by then."""
UNDECIDED_S = 60.0
"""In seconds: an edge accepts its count by then, though a transaction is open."""
METADATA_BYTES_MAX = 4096
"""Of a broker, for one offset."""
KEYS = [f"k{number}".encode() for number in range(16)]


class Counted(MemoryBroker):
    """Counts clients that are open, and questions about topics."""

    def __init__(self, clock):
        super().__init__(clock)
        self.open_clients = 0
        self.asked = 0

    def _watched(self, client):
        self.open_clients += 1
        close = client.close

        async def closed():
            self.open_clients -= 1
            await close()

        client.close = closed
        return client

    def transactional_producer(self, transactional_id):
        return self._watched(super().transactional_producer(transactional_id))

    async def admin(self):
        admin = self._watched(await super().admin())
        describe = admin.describe_topics

        async def describe_topics():
            self.asked += 1
            return await describe()

        admin.describe_topics = describe_topics
        return admin


@pytest.fixture
async def clock():
    made = VirtualClock()
    await made.advance(LATE_S)
    return made


@pytest.fixture
async def broker():
    made = Counted(SystemClock())
    admin = await made.admin()
    await admin.create_topics([TopicConfig("t", 1, 1, {})])
    await admin.close()
    return made


def _batch(number, keys=(b"k",)):
    return RequestBatch("e", number, [*keys], [b"v"] * len(keys))


async def test_a_shipper_holds_one_connection(broker, clock):
    """An edge reconnects for as long as it lives: clients that stay open add up."""
    shipper = Shipper(broker, "t", clock)
    for _ in range(3):
        await shipper.connect("e")
        assert broker.open_clients == 2
    await shipper.close()
    assert broker.open_clients == 0


async def test_a_topic_that_does_not_exist_is_named(broker, clock):
    """The edge goes on with other topics; the operator needs the name and the command."""
    with pytest.raises(UnknownTopic, match="topic nowhere does not exist"):
        await Shipper(broker, "nowhere", clock).connect("e")


async def test_added_partitions_are_used_within_their_time_and_asked_for_no_more_often(
    broker, clock
):
    """A question per transaction would cost as much as the transaction."""
    shipper = Shipper(broker, "t", clock)
    await shipper.connect("e")
    await (await broker.admin()).create_partitions({"t": 4})
    broker.asked = 0
    await shipper.ship([_batch(0, KEYS)])
    assert broker.asked == 0
    await clock.advance(COUNTED_S + 1)
    await shipper.ship([_batch(1, KEYS)])
    await shipper.ship([_batch(2, KEYS)])
    assert broker.asked == 1
    found = [
        list(broker.log(TopicPartition("t", number)).read_committed(0, 999).keys)
        for number in range(4)
    ]
    assert found[1:] == [
        [key for key in KEYS if partition_of(key, 4) == number] * 2 for number in range(1, 4)
    ]
    await shipper.close()


async def test_a_transaction_without_an_end_is_in_doubt(broker, clock, monkeypatch):
    """The requests must get their answer, and the next connection learns the outcome."""
    monkeypatch.setattr(shipment, "SHIP_TIMEOUT_S", 0.01)
    shipper = Shipper(broker, "t", clock)
    await shipper.connect("e")

    async def never():
        await asyncio.Event().wait()

    broker.faults.before("commit", never)
    with pytest.raises(CommitInDoubt, match=r"no end of a transaction within 0\.01 s"):
        await shipper.ship([_batch(0)])
    assert await shipper.connect("e") is None
    await shipper.close()


async def test_the_count_stands_in_the_first_partition(broker, clock):
    """Every version of the edge must look in the same place."""
    shipper = Shipper(broker, "t", clock)
    await shipper.connect("e")
    await shipper.ship([_batch(0), _batch(1)])
    assert broker.committed("dia-edge-e", TopicPartition("t", 0)).offset == 2
    await shipper.close()


async def test_the_places_of_a_large_topic_fit_the_metadata_of_an_offset(broker, clock):
    """A broker refuses the whole transaction otherwise, at each attempt."""
    keys = [f"k{number}".encode() for number in range(2000)]
    admin = await broker.admin()
    await admin.create_partitions({"t": 500})
    shipper = Shipper(broker, "t", clock)
    await shipper.connect("e")
    for number in range(3):
        await shipper.ship([_batch(number, keys)])
    metadata = broker.committed("dia-edge-e", TopicPartition("t", 0)).metadata
    assert len(metadata) < METADATA_BYTES_MAX
    assert metadata.count(":") == 100
    await admin.close()
    await shipper.close()


async def _held_open(broker, name):
    """A transaction of another producer that stays open behind the end of the log."""
    other = broker.transactional_producer(name)
    await other.start()
    await other.begin()
    await (await other.send(OutboundRecord(TopicPartition("t", 0), b"k", b"open")))
    return other


async def test_each_open_transaction_delays_a_connection_for_its_own_time(broker, clock):
    """The time of an earlier one must not be counted: then the count is accepted at once."""
    first = await _held_open(broker, "first")
    sender = Shipper(broker, "t", clock)
    await sender.connect("e")
    await sender.ship([_batch(0)])
    shipper = Shipper(broker, "t", clock)
    with pytest.raises(BrokerUnavailable, match="not decided"):
        await shipper.connect("e")
    await clock.advance(UNDECIDED_S - 1)
    with pytest.raises(BrokerUnavailable, match="not decided"):
        await shipper.connect("e")
    await clock.advance(2)
    assert await shipper.connect("e") == 1
    await first.abort()
    assert await shipper.connect("e") == 1
    second = await _held_open(broker, "second")
    await sender.connect("e")
    await sender.ship([_batch(1)])
    await clock.advance(UNDECIDED_S - 1)
    with pytest.raises(BrokerUnavailable, match="not decided"):
        await shipper.connect("e")
    await second.abort()
    await sender.close()
    await shipper.close()
