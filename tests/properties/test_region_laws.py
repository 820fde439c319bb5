"""Two regions with mirrors between them, while regions go away, mirrors and edges restart, and changes
of the active region are killed and run again (docs/protocols/regions.md)."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.app import app
from streams.connect.broker.memory.broker import MemoryBroker
from streams.connect.broker.memory.reader import MemoryReader
from streams.core.errors import DiaError
from streams.core.topics.topology import DeclaredSource, Topology
from streams.core.types import CommittedOffset, RecordBatch, TopicConfig, TopicPartition
from streams.dev.simulation.loop import LoopClock, VirtualLoop, run
from streams.dev.simulation.mirror import Mirror
from streams.operate.regions import mirrored
from streams.operate.regions.failover import RegionSwitch, Switch
from streams.operate.regions.mirrored import is_copied
from streams.operate.regions.watch import RegionStanding, RegionWatch
from streams.operate.regions.word import journal_topic
from tests.depth import cases

EAST, WEST = "east", "west"
REGIONS = (EAST, WEST)
TOPIC = app.topics["model.metrics"]
TOPOLOGY = Topology("acme", (TOPIC,), (DeclaredSource("acme-group", TOPIC.name),))
PARTITIONS = [TopicPartition(TOPIC.name, number) for number in range(2)]
LEASE_S = 8.0
DAY_S = 86_400

REGION = st.sampled_from(REGIONS)
PAUSE_S = st.sampled_from([0.0, 0.7, 3.0, 12.0])
one_move = st.one_of(
    st.tuples(st.just("post"), REGION, PAUSE_S),
    st.tuples(st.just("post"), REGION, PAUSE_S),
    st.tuples(st.just("down"), REGION, PAUSE_S),
    st.tuples(st.just("up"), REGION, PAUSE_S),
    st.tuples(st.just("switch"), REGION, PAUSE_S),
    st.tuples(st.just("switch_without"), REGION, PAUSE_S),
    st.tuples(st.just("switch_back"), REGION, PAUSE_S),
    st.tuples(st.just("kill_switch"), REGION, PAUSE_S),
    st.tuples(st.just("restart_mirror"), REGION, PAUSE_S),
    st.tuples(st.just("stop_mirror"), REGION, PAUSE_S),
    st.tuples(st.just("restart_edge"), REGION, PAUSE_S),
    st.tuples(st.just("stop_fold"), REGION, PAUSE_S),
)
MOVES = st.lists(one_move, max_size=25)
LOST_REGION = [
    *[("post", EAST, 0.7)] * 4,
    *[("stop_fold", WEST, 0.0), ("post", EAST, 3.0), ("stop_mirror", WEST, 0.0)],
    *[("post", EAST, 0.7), ("down", EAST, 3.0), ("switch_without", WEST, 30.0)],
    *[("restart_fold", WEST, 12.0), ("post", WEST, 0.7)],
    *[("up", EAST, 0.0), ("post", EAST, 0.0), ("restart_mirror", WEST, 12.0), ("post", WEST, 3.0)],
]
"""East is lost with records that its mirror had not taken, and comes back."""
COPIES_ALONE = [("post", EAST, 0.7)] * 16
"""West only takes copies, more of them than one look at a mirror counts."""


@dataclass
class Fold:
    """What a region's agents do, in short: each id counts once. A restart begins at the committed
    offset, with the ids of what is committed."""

    broker: MemoryBroker
    clock: LoopClock
    counted: Counter[bytes] = field(default_factory=Counter)
    task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        while True:
            try:
                await self._run()
            except DiaError:
                await self.clock.sleep(0.5)

    async def _run(self) -> None:
        producer = self.broker.transactional_producer("acme-group")
        await producer.start()
        admin, reader = await self.broker.admin(), await self.broker.reader()
        while True:
            committed = await admin.committed("acme-group", PARTITIONS)
            for tp in PARTITIONS:
                at = committed[tp].offset if tp in committed else 0
                batch = await reader.read(tp, at, 4)
                if batch.end > at:
                    await producer.begin()
                    await producer.send_offsets({tp: CommittedOffset(batch.end, "")}, "acme-group")
                    await producer.commit()
                    for value in batch.values:
                        assert value is not None
                        self.counted[value] = 1
            await self.clock.sleep(0.8)


class World:
    """Two regions. ``said``: what broke a law at the instant that it broke."""

    def __init__(self, loop: VirtualLoop, copied: Any = is_copied) -> None:
        self.clock = LoopClock(loop)
        self.brokers = {name: MemoryBroker(self.clock) for name in REGIONS}
        self.folds = {name: Fold(self.brokers[name], self.clock) for name in REGIONS}
        self.watches: dict[str, RegionWatch] = {}
        self.tasks: dict[tuple[str, str], asyncio.Task[Any]] = {}
        self.accepted: dict[bytes, str] = {}
        self.away: set[str] = set()
        self.said: list[str] = []
        self._copied = copied
        self._posts = 0

    async def open(self) -> None:
        for broker in self.brokers.values():
            admin = await broker.admin()
            await admin.create_topics([TopicConfig(TOPIC.name, len(PARTITIONS), 1, {})])
            await admin.create_topics([journal_topic("acme")])
        await self.switch().begin(EAST, "test")
        for name in REGIONS:
            self.start("mirror", name)
            self.start("edge", name)
            self.start("fold", name)
        await self.clock.sleep(3.0)

    def switch(self) -> RegionSwitch:
        return RegionSwitch(self.brokers, TOPOLOGY, self.clock, LEASE_S)

    def start(self, what: str, name: str) -> None:
        self.stop(what, name)
        other = EAST if name == WEST else WEST
        match what:
            case "mirror":  # runs in the region that it writes to
                origin, target = self.brokers[other], self.brokers[name]
                copies = Mirror(other, origin, target, [TOPIC.name], self.clock, self._copied)
                work = copies.run()
            case "edge":
                watch = RegionWatch(name, self.brokers, "acme", self.clock, LEASE_S)
                self.watches[name], work = watch, watch.run()
            case _:
                work = self.folds[name].run()
        self.tasks[what, name] = asyncio.create_task(work)

    def stop(self, what: str, name: str) -> None:
        if (task := self.tasks.pop((what, name), None)) is not None:
            task.cancel()

    def post(self, name: str) -> None:
        """An edge appends at once, so that the log is its answer; away, it has nowhere to."""
        if not self.watches[name].standing().serves or name in self.away:
            return
        self._posts += 1
        value = b"%d" % self._posts
        self.brokers[name].append(PARTITIONS[self._posts % 2], b"k", value)
        self.accepted[value] = name

    async def move(self, what: str, name: str) -> None:
        match what:
            case "post":
                self.post(name)
            case "down":
                self.away.add(name)
                self.brokers[name].faults.down()
            case "up":
                self.away.discard(name)
                self.brokers[name].faults.up()
            case "switch" | "switch_without" | "switch_back":
                self.stop("switch", "")
                order = Switch(
                    target=name,
                    actor="test",
                    reason="",
                    without_old=what == "switch_without",
                    back=what == "switch_back",
                    mirror_timeout_s=20.0,
                    fold_timeout_s=40.0,
                )
                self.tasks["switch", ""] = asyncio.create_task(self._switch(order))
            case "kill_switch":
                self.stop("switch", "")
            case _:
                verb, _, part = what.partition("_")
                (self.start if verb == "restart" else self.stop)(part, name)

    async def _switch(self, order: Switch) -> None:
        try:
            done = await self.switch().run(order)
        except DiaError:
            return
        name, old = order.target, done.before
        unfolded = self.ids(name) - set(self.folds[name].counted)
        late = {value for value in unfolded if self.accepted[value] != name}
        if done.before != name and late:
            self.said.append(f"{name} is active and has not folded {sorted(late)}")
        named = {one.tp: one.first for one in done.missing}
        for tp in PARTITIONS:
            log = self.brokers[old].log(tp).read_committed(0, 9999)
            here = self.ids(name)
            for offset, value, found in zip(log.offsets, log.values, log.headers, strict=True):
                lost = old != name and is_copied(found) and value not in here
                if lost and offset < named.get(tp, 1 << 60):
                    self.said.append(f"{value!r} of {tp} is lost and not named")

    def ids(self, name: str) -> set[bytes]:
        broker = self.brokers[name]
        return {v for tp in PARTITIONS for v in broker.log(tp).read_committed(0, 9999).values if v}

    def look(self) -> None:
        serving = [n for n in REGIONS if self.watches[n].standing().serves and n not in self.away]
        if len(serving) > 1:
            self.said.append(f"both serve at {self.clock.monotonic():.1f} s")

    def look_back(self) -> None:
        for name in REGIONS:
            for tp in PARTITIONS:
                log = self.brokers[name].log(tp).read_committed(0, 9999)
                for value, found in zip(log.values, log.headers, strict=True):
                    if found and self.accepted[value or b""] == name:
                        self.said.append(f"{value!r} came back to {name}")


async def _play(world: World, moves: list[tuple[str, str, float]]) -> None:
    await world.open()
    for what, name, pause_s in moves:
        await world.move(what, name)
        until = world.clock.monotonic() + pause_s
        while True:
            world.look()
            if world.said or world.clock.monotonic() >= until:
                break
            await world.clock.sleep(0.5)
        world.look_back()
        if world.said:
            return
    world.stop("switch", "")
    for name in REGIONS:
        await world.move("up", name)
        for part in ("mirror", "edge", "fold"):
            world.start(part, name)
    await world.clock.sleep(60.0)
    world.look()
    world.look_back()
    for name in REGIONS:
        counted = world.folds[name].counted
        if counted != Counter(dict.fromkeys(world.accepted, 1)):
            world.said.append(f"{name} counts {dict(counted)}, accepted {world.accepted}")
    done = await world.switch().run(Switch(target=WEST, actor="test", reason="", back=True))
    if done.missing or not world.watches[WEST]:
        world.said.append("a change between well regions misses records")


async def _few(self: MemoryReader, tp: TopicPartition, offset: int, most: int = 2) -> RecordBatch:
    return await _read(self, tp, offset, 2)


_read = MemoryReader.read


@patch.object(mirrored, "COUNTED_MAX", 3)
@patch.object(MemoryReader, "read", _few)
def broken(moves: list[tuple[str, str, float]], copied: Any = is_copied) -> list[str]:
    """Logs are longer than what one look at a mirror counts."""
    loop = VirtualLoop()
    world = World(loop, copied)

    async def tell() -> list[str]:
        try:
            await _play(world, moves)
        finally:
            for task in world.tasks.values():
                task.cancel()
            await asyncio.gather(*world.tasks.values(), return_exceptions=True)
        return world.said

    return run(loop, tell())


@settings(max_examples=cases(45), deadline=None)
@given(MOVES)
def test_one_region_serves_and_every_accepted_event_counts_once_in_each(moves):
    """Whatever goes away or dies in between: one active region, no lost event that is not named, none
    that comes back, and in the end all of them in both regions."""
    assert broken(moves) == []


@pytest.mark.parametrize("story", [LOST_REGION, COPIES_ALONE])
def test_a_lost_region_comes_back_and_an_idle_one_becomes_active(story):
    """The story that the runbook tells, in which every law has something to say, and the first change of an
    installation."""
    assert broken(story) == []


def _always_serves(self):
    return RegionStanding("", "", 0, "", "")


def _asks_only_its_own(self, *args):
    _made(self, *args)
    self._brokers = {self._own: self._brokers[self._own]}


_made = RegionWatch.__init__


async def _folds_nothing(self, order):
    return None


async def _waits_for_no_mirror(self, order, before, *, old_away):
    return []


async def _no_lease(self, delay_s):
    return None


@pytest.mark.parametrize(
    ("where", "name", "variant", "says"),
    [
        (RegionWatch, "standing", _always_serves, "both serve"),
        (RegionWatch, "__init__", _asks_only_its_own, "both serve"),
        (RegionSwitch, "_folded", _folds_nothing, "has not folded"),
        (RegionSwitch, "_mirrored", _waits_for_no_mirror, "is lost and not named"),
    ],
)
def test_broken_regions_are_caught(where, name, variant, says):
    """An edge that does not ask, or asks its own cluster alone; a change that does not wait for the
    fold, or does not name what is lost: the laws can fail."""
    with patch.object(where, name, variant):
        assert any(says in said for said in broken(LOST_REGION))


def test_a_mirror_that_copies_what_it_was_sent_is_caught():
    """Without the mark, records travel between the regions for ever."""
    said = broken([("post", EAST, 12.0)], copied=lambda found: True)
    assert any("came back" in one for one in said)
