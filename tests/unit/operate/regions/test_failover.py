"""What a change of the active region refuses, and what it says."""

from __future__ import annotations

import asyncio

import pytest

from agents.app import app
from streams.connect.broker.memory.broker import MemoryBroker
from streams.connect.broker.memory.reader import MemoryReader
from streams.core.command_errors import RegionBehind, RegionSuperseded
from streams.core.errors import BrokerUnavailable, DependencyUnreachable, RefusedBySafety
from streams.core.records import headers
from streams.core.types import CommittedOffset, TopicConfig, TopicPartition
from streams.dev.simulation.loop import LoopClock, VirtualLoop, run
from streams.operate.regions import failover, mirrored
from streams.operate.regions.declared import Region
from streams.operate.regions.failover import RegionSwitch, Switch
from streams.operate.regions.mirrored import SeenLogs, missing_of, offset_entry, offsets_topic
from streams.operate.regions.status import statuses
from streams.operate.regions.watch import RegionWatch
from streams.operate.regions.word import RegionWord, journal_topic, write_word
from streams.operate.topics.topics import wanted_topics

LEASE_S = 5.0
TP = TopicPartition("model.metrics", 1)


class World:
    """Clusters without mirrors and workers; east is active."""

    def __init__(self, loop, names):
        self.clock = LoopClock(loop)
        self.brokers = {name: MemoryBroker(self.clock) for name in names}
        self.said = []
        self.switch = RegionSwitch(
            self.brokers, app.topology, self.clock, LEASE_S, self.said.append
        )

    async def open(self):
        for broker in self.brokers.values():
            await (await broker.admin()).create_topics(wanted_topics(app.topology))
            await (await broker.admin()).create_topics([journal_topic(app.topology.app)])
        await self.switch.begin("east", "test")

    async def change(self, to, **order):
        times = {"mirror_timeout_s": 3.0, "fold_timeout_s": 3.0}
        return await self.switch.run(Switch(target=to, actor="test", reason="", **times, **order))

    async def epochs(self):
        words, _ = await self.switch.words()
        return {name: (word.active, word.epoch) for name, word in words.items()}


def played(story, names=("east", "west")):
    """The result of ``story(world)`` in virtual time."""
    loop = VirtualLoop()
    world = World(loop, names)

    async def tell():
        await world.open()
        return await story(world)

    return run(loop, tell())


def test_a_lost_cluster_needs_to_be_named_lost():
    """A broken network between regions must not make both active by a habit."""

    async def story(world):
        world.brokers["east"].faults.down()
        with pytest.raises(DependencyUnreachable, match="--without-old"):
            await world.change("west")
        done = await world.change("west", without_old=True)
        assert (done.before, done.epoch) == ("east", 2)
        assert {one.tp.topic for one in done.missing} >= {"model.metrics"}
        assert all(one.until is None for one in done.missing)

    played(story)


def test_a_target_that_is_away_cannot_become_active():
    """Its edges would have no log."""

    async def story(world):
        world.brokers["west"].faults.down()
        with pytest.raises(DependencyUnreachable, match="west cannot be reached"):
            await world.change("west", without_old=True)

    played(story)


def test_a_mirror_that_is_behind_changes_nothing():
    """The old region goes on serving: its word stays the newest."""

    async def story(world):
        world.brokers["east"].append(TP, b"k", b"v")
        await world.clock.sleep(20)
        with pytest.raises(RegionBehind, match=r"nothing was changed.*model\.metrics"):
            await world.change("west")
        assert await world.epochs() == {"east": ("east", 1), "west": ("east", 1)}

    played(story)


def test_a_third_region_waits_for_the_one_that_served_before_an_unfinished_change():
    """The newest word names a region that never served. Its log is empty, and the records that the new
    region lacks are those of another one."""

    async def story(world):
        world.brokers["east"].append(TP, b"k", b"v")
        with pytest.raises(RegionBehind, match="records of east"):
            await world.change("west")
        with pytest.raises(RegionBehind, match="records of east"):
            await world.change("north")
        done = await world.change("north", without_old=True)
        assert [(one.region, one.tp, one.records) for one in done.missing] == [("east", TP, 1)]

    played(story, ("east", "west", "north"))


def test_records_of_an_earlier_region_that_is_away_are_named():
    """Its mirror copied some of them. A region that was never active has none."""

    async def story(world):
        north = await world.brokers["north"].admin()
        await north.create_topics([TopicConfig(offsets_topic("east"), 1, 1, {})])
        entry = offset_entry("east", TP, 6)
        world.brokers["north"].append(TopicPartition(offsets_topic("east"), 0), *entry)
        world.brokers["east"].faults.down()
        await world.change("west", without_old=True)
        done = await world.change("north")
        assert [(one.region, one.tp, one.first, one.until) for one in done.missing] == [
            ("east", TP, 7, None)
        ]

    played(story, ("east", "west", "north", "south"))


def test_records_that_expired_before_a_mirror_read_them_stop_no_change():
    """Of a quiet partition retention left nothing, so its mirror never says an offset: a change that
    waits for it has fenced the old region, and no region serves. The records are named."""

    async def story(world):
        east = world.brokers["east"]
        east.append(TP, b"k", b"v")
        await (await east.admin()).delete_records({TP: 1})
        done = await world.change("west")
        assert [(one.tp, one.first, one.until, one.gone) for one in done.missing] == [(TP, 0, 1, 1)]
        back = await world.change("east", back=True)
        assert (back.active, back.missing) == ("east", ())

    played(story)


async def _copied(world, where, source, last):
    """The mirror in ``where`` copied ``source`` up to offset ``last``."""
    place = TopicPartition(offsets_topic(source), 0)
    await (await world.brokers[where].admin()).create_topics([TopicConfig(place.topic, 1, 1, {})])
    world.brokers[where].append(place, *offset_entry(source, TP, last))


async def _folded(broker, end):
    for group, topic in app.topology.sources():
        if topic.name == TP.topic:
            producer = broker.transactional_producer(group)
            await producer.start()
            await producer.begin()
            await producer.send_offsets({TP: CommittedOffset(end, "")}, group)
            await producer.commit()


def test_a_cluster_that_was_made_anew_does_not_serve_as_if_it_had_its_records():
    """A region is lost with all its machines, and comes back empty. The change fenced the other one, failed
    for a missing journal, and once that was there, said that nothing was missing."""

    async def story(world):
        await _copied(world, "west", "east", 4)
        world.brokers["east"].append(TP, b"k", b"v")
        await world.change("west", without_old=True)
        world.brokers["east"] = anew = MemoryBroker(world.clock)
        await (await anew.admin()).create_topics(wanted_topics(app.topology))
        for _ in range(6):  # longer than the old one, by what west took
            anew.append(TP, b"k", b"v", headers=((headers.MIRRORED, b""),))
        await _folded(anew, 6)
        with pytest.raises(
            RefusedBySafety, match=r"nothing was changed.*made anew.*model\.metrics"
        ):
            await world.change("east", back=True)
        words, _ = await world.switch.words()
        assert words["west"].rank == (2, "west")
        assert (await world.change("east", without_old=True)).active == "east"
        assert any("made anew" in said for said in world.said)
        await world.change("west", without_old=True)
        assert (await world.change("east", back=True)).active == "east"

    played(story)


@pytest.mark.parametrize("records", [1, 6])
def test_a_mirror_that_copied_an_older_log_has_copied_nothing_of_this_one(records):
    """Its offset lies behind the end, or at a copy: both said that nothing is missing."""

    async def story(world):
        east, west = world.brokers.values()
        await _copied(world, "west", "east", 4)
        east.append(TP, b"k", b"own")
        for _ in range(records - 1):
            east.append(TP, b"k", b"v", headers=((headers.MIRRORED, b""),))
        (one,) = await missing_of(east, west, app.topology, "east")
        assert (one.first, one.records) == (0, 1)

    played(story)


def test_a_region_that_does_not_say_what_it_copied_stops_no_change_without_the_old_one(monkeypatch):
    """A lost region shall not wait for a third one that answers in part."""

    async def silent(broker, source):
        raise BrokerUnavailable("no leader")

    async def story(world):
        monkeypatch.setattr(failover, "taken", silent)
        with pytest.raises(DependencyUnreachable, match="nothing was changed"):
            await world.change("north")
        assert (await world.change("north", without_old=True)).active == "north"

    played(story, ("east", "west", "north"))


def test_a_log_that_is_known_is_not_read_at_each_look(monkeypatch):
    """Of each partition, from another continent, each second of a change and each 15 s of a console."""

    async def story(world):
        east, west = world.brokers.values()
        await _copied(world, "west", "east", 0)
        east.append(TP, b"k", b"v")
        seen = SeenLogs()
        assert await missing_of(east, west, app.topology, "east", seen) == ()
        assert seen.same == {TP}
        monkeypatch.delattr(MemoryReader, "_read")
        monkeypatch.setattr(mirrored, "taken", lambda *_: _known())
        assert await missing_of(east, west, app.topology, "east", seen) == ()

    async def _known():
        return {TP: 1}

    played(story)


@pytest.mark.parametrize(
    ("names", "full"), [(("east", "west"), "west"), (("east", "west", "north"), "north")]
)
def test_a_log_of_copies_alone_holds_up_no_change(monkeypatch, names, full):
    """A mirror writes no offset for what it leaves out, so a region that only took copies seems to be behind
    by its whole log. A failback never began, and a change between three left no region active."""
    monkeypatch.setattr(mirrored, "COUNTED_MAX", 3)
    read = MemoryReader.read
    monkeypatch.setattr(MemoryReader, "read", lambda self, tp, at, most=2: read(self, tp, at, 2))

    async def story(world):
        for _ in range(9):
            world.brokers[full].append(TP, b"k", b"v", headers=((headers.MIRRORED, b""),))
        if full == "west":  # its workers folded the copies
            await (await world.brokers[full].admin()).delete_records({TP: 9})
        done = await world.change("west", back=True)
        assert (done.active, done.missing) == ("west", ())
        return done

    played(story, names)


def test_a_log_of_copies_that_takes_long_to_read_is_not_taken_for_a_lost_cluster(monkeypatch):
    """The question about a mirror has a time limit, and goes on where the one before it came to."""
    monkeypatch.setattr(failover, "REACH_TIMEOUT_S", 1.0)
    read = MemoryReader.read

    async def slow(reader, tp, at, most=2):
        await asyncio.sleep(0.4)
        return await read(reader, tp, at, 2)

    async def story(world):
        for _ in range(9):
            world.brokers["north"].append(TP, b"k", b"v", headers=((headers.MIRRORED, b""),))
        monkeypatch.setattr(MemoryReader, "read", slow)
        done = await world.change("west", without_old=True)
        assert (done.active, done.missing) == ("west", ())

    played(story, ("east", "west", "north"))


def test_records_that_expire_while_they_are_counted_are_counted_as_gone(monkeypatch):
    """Retention deletes at any time. It ended the console's measurement for good, and a change that had
    fenced the old region."""

    async def story(world):
        east, west = world.brokers.values()
        east.append(TP, b"k", b"v")
        east.append(TP, b"k", b"w")
        ask = MemoryReader.bounds

        async def bounds(reader, partitions):
            found = await ask(reader, partitions)
            if TP in found:
                east.log(TP).trim(1)
            return found

        monkeypatch.setattr(MemoryReader, "bounds", bounds)
        (one,) = await missing_of(east, west, app.topology, "east")
        assert (one.first, one.records, one.gone) == (0, 2, 1)

    played(story)


def test_a_change_that_was_run_twice_leaves_a_region_that_is_active():
    """The words of both runs say the same. Taken for two, a later `failover` to the active region
    waits for mirrors and workers, where it changes nothing."""

    async def story(world):
        world.brokers["west"].append(TP, b"k", b"v")
        with pytest.raises(RegionBehind, match="not folded"):
            await world.change("west")
        await (await world.brokers["west"].admin()).delete_records({TP: 1})
        await world.clock.sleep(1)
        await world.change("west")
        done = await world.change("west")
        assert (done.before, done.lease_s) == ("west", 0.0)

    played(story)


def test_workers_that_do_not_fold_leave_no_region_active_until_it_is_run_again():
    """Readers of the new region would miss what its log has. The next run goes on in the epoch."""

    async def story(world):
        world.brokers["west"].append(TP, b"k", b"v")
        with pytest.raises(RegionBehind, match=r"not folded 1 partitions.*offset 0 to 1"):
            await world.change("west")
        assert await world.epochs() == {"east": ("west", 2), "west": ("east", 1)}
        admin = await world.brokers["west"].admin()
        await admin.delete_records({TP: 1})
        assert (await world.change("west")).epoch == 2
        assert await world.epochs() == {"east": ("west", 2), "west": ("west", 2)}

    played(story)


def test_an_active_region_tells_those_that_do_not_know():
    """A region that was away has an old word, which its edges would serve on when cut off."""

    async def story(world):
        world.brokers["east"].faults.down()
        await world.change("west", without_old=True)
        world.brokers["east"].faults.up()
        assert (await world.epochs())["east"] == ("east", 1)
        assert (await world.change("west")).epoch == 2
        assert (await world.epochs())["east"] == ("west", 2)

    played(story)


def test_the_later_of_two_changes_is_refused():
    """Both would be right about the epoch, and wrong about the region."""

    async def story(world):
        word = RegionWord(epoch=2, active="west", at_ms=0, actor="a", reason="")
        other = RegionWord(epoch=2, active="east", at_ms=0, actor="b", reason="")
        broker = world.brokers["east"]
        await write_word(broker, app.topology.app, word, world.clock)
        await write_word(broker, app.topology.app, word, world.clock)
        with pytest.raises(RegionSuperseded, match="by a"):
            await write_word(broker, app.topology.app, other, world.clock)

    played(story)


def test_of_two_regions_that_became_active_in_one_epoch_one_serves():
    """By commands that did not see each other. Once the regions do, each judges the same."""

    async def story(world):
        for name, broker in world.brokers.items():
            word = RegionWord(epoch=2, active=name, at_ms=0, actor="a", reason="")
            await write_word(broker, app.topology.app, word, world.clock)
        serving = []
        for own in world.brokers:
            watch = RegionWatch(own, world.brokers, app.topology.app, world.clock, LEASE_S)
            for region in (own, *world.brokers):  # whichever it reads first
                await watch._ask(region)
            serving += [own] * watch.standing().serves
        assert serving == ["west"]

    played(story)


def test_a_first_word_is_written_once():
    """A second one could name another region while the first serves."""

    async def story(world):
        await world.switch.begin("east", "again")
        with pytest.raises(RefusedBySafety, match="east is active in epoch 1"):
            await world.switch.begin("west", "again")

    played(story)


def test_the_status_shows_each_word_and_what_is_not_mirrored():
    """An operator decides by it."""

    async def story(world):
        world.brokers["east"].append(TP, b"k", b"v")
        await world.clock.sleep(9)
        regions = {name: Region(name=name, bootstrap="") for name in world.brokers}
        east, west = await statuses(regions, world.brokers, app.topology, world.clock, LEASE_S)
        assert (east.missing_records, west.missing_records) == (0, 1)
        assert west.missing_s == pytest.approx(9, abs=1)
        world.brokers["west"].faults.down()
        _, west = await statuses(regions, world.brokers, app.topology, world.clock, LEASE_S)
        assert (west.reachable, west.word, west.missing_records) == (False, None, None)

    async def at_once(call, *arguments):
        return call(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio, "to_thread", at_once)  # virtual time has no threads
        played(story)
