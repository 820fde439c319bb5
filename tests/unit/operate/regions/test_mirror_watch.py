"""What the console of a region that is not active says of its mirror."""

from __future__ import annotations

import pytest

from agents.app import app
from streams.connect.broker.memory.broker import MemoryBroker
from streams.connect.broker.memory.reader import MemoryReader
from streams.core.clock import VirtualClock
from streams.core.errors import BrokerUnavailable
from streams.core.records import headers
from streams.core.resilience.deadline import Deadline
from streams.core.telemetry.metrics import Metrics
from streams.core.types import TopicConfig, TopicPartition
from streams.dev.simulation.loop import LoopClock, VirtualLoop, run
from streams.operate.regions.mirror_watch import MirrorWatch
from streams.operate.regions.mirrored import expired, missing_of, offset_entry, offsets_topic
from streams.operate.regions.status import MIRROR_TIMEOUT_S
from streams.operate.regions.watch import RegionStanding
from streams.operate.topics.topics import wanted_topics

TP = TopicPartition("model.metrics", 1)


@pytest.fixture
async def world():
    clock = VirtualClock()
    brokers = {name: MemoryBroker(clock) for name in ("east", "west")}
    for broker in brokers.values():
        await (await broker.admin()).create_topics(wanted_topics(app.topology))
    place = TopicConfig(offsets_topic("east"), 1, 1, {})
    await (await brokers["west"].admin()).create_topics([place])
    metrics = Metrics()
    standing = RegionStanding("west", "east", 1, "region_not_active", "")
    watch = MirrorWatch(brokers, app.topology, clock, lambda: standing, metrics.regions)
    return clock, brokers, metrics, watch


def _samples(metrics):
    return {
        name: metrics.registry.get_sample_value(
            f"dia_region_mirror_missing_{name}", {"source": "east"}
        )
        for name in ("records", "seconds")
    }


async def test_records_behind_the_mirror_are_counted_and_aged(world):
    """Copies from here, and what was repaired there, are not missing."""
    clock, brokers, metrics, watch = world
    for value in (b"copied", b"first", b"second"):
        brokers["east"].append(TP, b"k", value)
    brokers["east"].append(TP, b"k", b"from west", ((headers.MIRRORED, b""),))
    brokers["east"].append(TP, b"k", b"replayed", ((headers.REPLAY_HOPS, b"1"),))
    key, value = offset_entry("east", TP, 0)
    brokers["west"].append(TopicPartition(offsets_topic("east"), 0), key, value)
    await clock.advance(7)
    await watch.measure()
    assert _samples(metrics) == {"records": 2, "seconds": 7}


async def test_what_expired_while_no_mirror_ran_is_known_until_one_goes_on(world):
    """A mirror passes over it in silence, and a failback would say that nothing is missing."""
    _, brokers, _, _ = world
    log = brokers["east"].log(TP)
    for value in range(9):
        brokers["east"].append(TP, b"k", b"%d" % value)
    place = TopicPartition(offsets_topic("east"), 0)
    brokers["west"].append(place, *offset_entry("east", TP, 1))
    asked = brokers["east"], brokers["west"], app.topology, "east"
    assert await expired(*asked) == []
    log.start_offset = 5
    (found,) = await expired(*asked)
    assert (found.tp, found.first, found.until, found.gone) == (TP, 2, 5, 3)
    brokers["west"].append(place, *offset_entry("east", TP, 8))
    assert await expired(*asked) == []


def test_a_mirror_with_a_thousand_partitions_is_measured_in_time(monkeypatch):
    """Another region answers after 80 ms. One answer after the other took 160 s, and the bounds are 15 and 30 s: the lag
    was unknown for ever."""
    loop = VirtualLoop()
    clock = LoopClock(loop)
    read = MemoryReader.read

    async def far(self, *asked):
        await clock.sleep(0.08)
        return await read(self, *asked)

    monkeypatch.setattr(MemoryReader, "read", far)
    east, west = MemoryBroker(clock), MemoryBroker(clock)

    async def measured():
        await (await east.admin()).create_topics([TopicConfig(TP.topic, 1000, 1, {})])
        place = TopicPartition(offsets_topic("east"), 0)
        await (await west.admin()).create_topics([TopicConfig(place.topic, 1, 1, {})])
        for number in range(1000):
            tp = TopicPartition(TP.topic, number)
            for value in (b"copied", b"waits"):
                east.append(tp, b"k", value)
            west.append(place, *offset_entry("east", tp, 0))
        asking = missing_of(east, west, app.topology, "east")
        return await Deadline(clock, MIRROR_TIMEOUT_S).wait(asking)

    found = run(loop, measured())
    assert [(one.tp.partition, one.first, one.records) for one in found] == [
        (number, 1, 1) for number in range(1000)
    ]


async def test_an_unknown_lag_has_no_sample(world):
    """An old figure would say that a mirror from a lost region is well."""
    _, brokers, metrics, watch = world
    await watch.measure()
    assert _samples(metrics) == {"records": 0, "seconds": 0}
    brokers["east"].faults.fail("read", BrokerUnavailable("scripted"), nth=1)
    await watch.measure()
    assert _samples(metrics) == {"records": None, "seconds": None}
