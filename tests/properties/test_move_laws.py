"""Readers count each window once at each moment of a move, however often it is killed."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from itertools import cycle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.connect.sinks.map_record import DayState, MapRecord
from streams.connect.sinks.memory import MemoryShards
from streams.connect.sinks.moves.memory import MemoryMoves
from streams.connect.sinks.moves.notes import MoveOrder
from streams.connect.sinks.sharding import HashSharding, ShardMap, WithoutShards
from streams.core.clock import VirtualClock
from streams.core.command_errors import MoveDiffers, MoveRefused
from streams.core.rows.built_in_tables import WINDOW_TABLES, WindowRows
from streams.core.rows.dated_map import DAY_S
from streams.core.rows.moved_mark import mark
from streams.engine.state.placements import TakenMap
from streams.operate.rebuild.homes import Homes
from streams.operate.shards.mover import MoveMeans, MoveOptions, Mover
from tests.depth import cases

TODAY = 20_000
FIRST, LAST = TODAY - 4, TODAY - 3
SHARDS = 3
BEFORE = ShardMap(2, HashSharding(2))
MAPS = {
    "spread": ShardMap(SHARDS, HashSharding(SHARDS)),
    "drained": ShardMap(SHARDS, WithoutShards(SHARDS, HashSharding(SHARDS), (0,))),
    "back": ShardMap(SHARDS, WithoutShards(SHARDS, HashSharding(SHARDS), (2,))),
}
TENANTS = [f"t{n}" for n in range(9)]


class KilledError(Exception):
    """The process of the mover ends here."""


def window(tenant, w, inc, n, shard, ver, moved=0):
    one = np.ones(1)
    return WindowRows(
        table="m1",
        shard=shard,
        part=inc % 3,
        tenants=[tenant],
        models=["m"],
        metrics=["k"],
        tenant_code=np.zeros(1, np.int32),
        model_code=np.zeros(1, np.int32),
        metric_code=np.zeros(1, np.int32),
        w=np.array([w], np.uint32),
        inc=np.array([inc], np.uint64),
        n=np.array([n], np.uint64),
        s1=n * 0.1 * one,
        s2=n * 0.01 * one,
        mean=0.1 * one,
        m2=0 * one,
        lo=0.1 * one,
        hi=0.1 * one,
        lv=0.1 * one,
        lt=np.array([w * 1000]),
        sk_off=np.array([0, 1], np.int32),
        sk_k=np.array([900], np.int16),
        sk_n=np.array([n], np.uint32),
        ver=np.array([ver], np.uint64),
        moved=moved,
    )


class Story:
    """Shards with rows of some days, and how many events each table has to show by series and day."""

    def __init__(self, kind, windows):
        self.clock = VirtualClock(start_ms=TODAY * DAY_S * 1000 + 43_200_000)
        self.shards = MemoryShards(SHARDS, self.clock)
        self.incarnations = 0
        self.events = Counter()
        self.readers = []
        """those that went by older states of the move, and have not answered yet"""
        self.sent = []
        self.taken = []
        self.plan(kind)
        for tenant, day, minute, n in windows:
            self.fold(tenant, day, minute, n, BEFORE)
        self.took()

    def plan(self, kind):
        """One more move of the days, which every partition has taken."""
        version = len(self.shards.recorded_moves) + 2
        record = MapRecord.of(
            MAPS[kind], [["a"], ["b"], ["c"]], version=version, first_day=FIRST, last_day=LAST
        )
        self.shards.add_move(record)
        self.record = record
        self.took()

    def took(self):
        """The partition takes the last move between two windows."""
        one = TakenMap(str(self.record.identity), FIRST, LAST, self.incarnations)
        self.taken[self.record.version - 2 :] = [one]

    def late(self, tenant, day, minute, n):
        """A window that began after the partition took the last move."""
        self.fold(tenant, day, minute, n, self.record.shard_map, mark(self.record.version))

    def fold(self, tenant, day, minute, n, shard_map, moved=0):
        """A window of a partition that places this day by ``shard_map``, with its hour and day."""
        self.incarnations += 1
        (shard,) = shard_map.shard_of([tenant], ["m"], ["k"]).tolist()
        w = day * DAY_S + minute * 60
        row = window(tenant, w, self.incarnations, n, shard, 100 + self.incarnations, moved)
        asyncio.run(self.shards.insert(shard, [row]))
        self.rolled(shard, w)
        self.events[tenant, day] += n
        self.sent.append(row)

    def rolled(self, shard, w):
        asyncio.run(self.shards.roll_up(shard, "h1", w // 3600 * 3600))
        asyncio.run(self.shards.roll_up(shard, "d1", w // DAY_S * DAY_S))

    def judge(self):
        for shards in (self.shards, *self.readers):
            for table in WINDOW_TABLES:
                shown = Counter()
                for row in shards.rows(table):
                    shown[row["tenant"], row["w"] // DAY_S] += row["n"]
                assert shown == self.events, table

    def waited(self, _):
        """The readers have answered."""
        self.judge()
        self.readers.clear()

    def judge_homes(self):
        """Law 5 of docs/protocols/rebuild.md, where no day is moving."""
        asyncio.run(self.shards.learn())
        homes = Homes((BEFORE.dated(), *self.shards.maps[1:]), self.taken, 0)
        found = [
            (shard, row)
            for shard in range(SHARDS)
            for row in self.shards.stored("m1", shard)
            if self.shards.counts("m1", row, shard)
        ]
        rows = [row for _, row in found]
        names = tuple([row[name] for row in rows] for name in ("tenant", "model", "metric"))
        w, inc = (np.array([row[name] for row in rows], np.int64) for name in ("w", "inc"))
        shards, moved = homes.of(names, w, inc.astype(np.uint64))
        assert shards.tolist() == [shard for shard, _ in found]
        assert moved.tolist() == [row["moved"] for row in rows]


class Watched:
    """A store that is judged after each call; of ``then``, one is done between two calls."""

    def __init__(self, story, then):
        self._story = story
        self._store = MemoryMoves(story.shards, story.record.version)
        self._then = then

    def __getattr__(self, name):
        found = getattr(self._store, name)
        if not callable(found):
            return found

        def called(*args, **named):
            self._act()
            if name == "enter":
                self._story.readers.append(self._story.shards.as_read_now())
            result = found(*args, **named)
            self._story.judge()
            return result

        return called

    def _act(self):
        if not self._then:
            return
        calls, what = self._then[0]
        if calls:
            self._then[0] = calls - 1, what
            return
        self._then.pop(0)
        story, number = self._story, len(self._then)
        if what == "kill":
            raise KilledError
        if what == "late":
            tenant, day = TENANTS[number % len(TENANTS)], FIRST + number % 2
            story.late(tenant, day, 60 * (number % 24) + 1, 5)
        elif story.sent:
            # A process that slept sends a row again that its successor has sent.
            row = story.sent[number % len(story.sent)]
            asyncio.run(story.shards.insert(row.shard, [row]))
            story.rolled(row.shard, int(row.w[0]))
        story.judge()


def orders():
    """The size of portions changes while they are copied."""
    sizes = cycle((4, 2, 9))
    return lambda: MoveOrder(batch=next(sizes))


def moved(story, then=(), mover=Mover, sleep=None, **options):
    means = MoveMeans(
        taken=lambda: None,
        check=lambda: None,
        say=lambda _: None,
        sleep=sleep or story.waited,
        clock=story.clock,
        retention_days=30,
        order=orders(),
        told=lambda _: None,
    )
    chosen = MoveOptions(sample=5, readers_s=60, **options)
    return mover(Watched(story, list(then)), chosen, means).run()


WINDOWS = st.lists(
    st.tuples(
        st.sampled_from(TENANTS),
        st.integers(FIRST - 1, LAST + 1),
        st.integers(0, 1439),
        st.integers(1, 9),
    ),
    max_size=25,
)
ACTS = st.lists(
    st.tuples(st.integers(0, 60), st.sampled_from(["kill", "late", "sleeper"])), max_size=6
)


def through(story, acts):
    """The move of a story to its end, killed and run again."""
    for _ in range(1 + sum(what == "kill" for _, what in acts)):
        with suppress(KilledError):
            moved(story, acts)
            break
        acts = acts[1 + next(i for i, (_, what) in enumerate(acts) if what == "kill") :]
    assert moved(story).days == 0
    version = story.record.version
    assert {story.shards.day_state(version, day) for day in (FIRST, LAST)} == {DayState.DONE}
    story.judge()
    story.judge_homes()


MOVES = st.lists(st.tuples(st.sampled_from(sorted(MAPS)), ACTS), min_size=1, max_size=3)


@settings(max_examples=cases(45))
@given(WINDOWS, MOVES)
def test_each_window_counts_once_at_each_moment(windows, moves):
    """Days move once, or again, or back. Late windows arrive, and processes die or wake up in the middle;
    the end is always the same."""
    story = Story(moves[0][0], windows)
    story.judge()
    for number, (kind, acts) in enumerate(moves):
        if number:
            story.plan(kind)
        through(story, acts)
    for table in WINDOW_TABLES:
        for shard in range(SHARDS):
            for row in story.shards.rows(table, shard):
                if FIRST <= row["w"] // DAY_S <= LAST:
                    names = [row["tenant"]], [row["model"]], [row["metric"]]
                    assert story.record.shard_map.shard_of(*names) == [shard]


FEW = [(tenant, day, 7 * n, 3) for n, tenant in enumerate(TENANTS) for day in (FIRST, LAST)]


def test_a_returned_move_leaves_what_it_placed_where_it_is():
    """Late windows went to its shards before it was given up; the next move takes them from there."""
    story = Story("spread", FEW)
    through(story, [])
    story.plan("drained")
    for day in (FIRST, LAST):
        for tenant in TENANTS:
            story.late(tenant, day, 100, 4)
    story.judge()
    mover_of(story).give_up()
    story.judge()
    story.judge_homes()
    story.plan("back")
    through(story, [])


def test_a_mover_that_gives_readers_no_time_is_found():
    """A reader has asked for the states of the days before its question."""
    with pytest.raises(AssertionError):
        moved(Story("drained", FEW), sleep=lambda _: None)


class Forgetful(Mover):
    """It skips a bucket, and compares no sample."""

    def _portions(self, day):
        return iter([*super()._portions(day)][1:])

    def _sampled(self, day):
        return True


class Rash(Mover):
    """It shows a day before the rows are there."""

    def _copy(self, day):
        self._store.enter(day, DayState.SHOWN)
        super()._copy(day)


class Hasty(Mover):
    """It deletes the originals before readers take the copies."""

    def _sampled(self, day):
        self._store.delete_originals(day)
        return super()._sampled(day)


@pytest.mark.parametrize("broken", [Forgetful, Rash, Hasty])
def test_a_broken_mover_is_found(broken):
    """The law has to be able to fail."""
    with pytest.raises(AssertionError):
        moved(Story("drained", FEW), mover=broken)


def test_a_batch_that_arrives_wrong_is_found_by_its_checksum(monkeypatch):
    """Nothing of the day is shown from the copies."""
    story = Story("drained", FEW)
    put = story.shards.put

    def spoilt(shard, table, rows):
        put(shard, table, [{**row, "hi": row["hi"] + 1} for row in rows])

    monkeypatch.setattr(story.shards, "put", spoilt)
    with pytest.raises(MoveDiffers):
        moved(story)
    assert story.shards.day_state(2, FIRST) == DayState.COPYING
    monkeypatch.undo()
    assert moved(story).days == 2


def spoil_copies(story, day, **columns):
    """Copies of the day on disk, changed; with another version no insert of the mover replaces them."""
    for table in WINDOW_TABLES:
        for shard in range(SHARDS):
            rows = [one for one in story.shards.stored(table, shard) if one["moved"]]
            mine = [one for one in rows if one["w"] // DAY_S == day]
            story.shards.put(
                shard,
                table,
                [{**one, **{k: one[k] + v for k, v in columns.items()}} for one in mine],
            )


class Dying(Mover):
    """It ends when the copies are there."""

    def _sampled(self, day):
        raise KilledError


def test_copies_that_no_insert_replaces_are_deleted_and_made_again():
    """Else the command would find them again at each run, and no other day could move."""
    story = Story("drained", FEW)
    with pytest.raises(KilledError):
        moved(story, mover=Dying)
    assert any(one["moved"] for one in story.shards.stored("m1"))
    spoil_copies(story, FIRST, n=1, ver=1)
    report = moved(story)
    assert report.repaired
    assert report.days == 2


class Overheard(Mover):
    """Copies change after readers began to take them."""

    def _first_wrong(self, day):
        spoil_copies(self._store._story, day, hi=1)
        return super()._first_wrong(day)


def test_a_day_that_differs_after_it_was_shown_is_shown_from_its_originals_again():
    """They are there until the copies were compared once more."""
    story = Story("drained", FEW)
    report = moved(story, mover=Overheard)
    assert len(report.given_up) == 2
    assert story.shards.day_state(2, FIRST) == DayState.RETURNED
    assert not any(one["moved"] for one in story.shards.stored("m1"))
    story.judge()


def mover_of(story, sleep=lambda _: None):
    means = MoveMeans(
        taken=lambda: None,
        check=lambda: None,
        say=lambda _: None,
        sleep=sleep,
        clock=story.clock,
        retention_days=30,
        order=lambda: MoveOrder(batch=4),
        told=lambda _: None,
    )
    return Mover(Watched(story, []), MoveOptions(sample=5, readers_s=60), means)


def test_an_operator_gives_up_a_move():
    """A move that has not finished holds up backups and other moves."""
    story = Story("drained", FEW)
    with pytest.raises(KilledError):
        moved(story, mover=Dying)
    assert len(mover_of(story).give_up().given_up) == 2
    assert not any(one["moved"] for one in story.shards.stored("m1"))
    assert not mover_of(story).give_up().given_up
    assert moved(story).days == 0
    story.judge()


def test_days_whose_minutes_expire_meanwhile_stay():
    """A paused move may go on weeks later, when copies and originals expire at different moments."""
    story = Story("drained", FEW)
    story.clock = VirtualClock(start_ms=(LAST + 29) * DAY_S * 1000)
    assert [*map(bool, moved(story).given_up)] == [True, True]
    story.judge()


def test_a_mover_that_slept_while_another_one_finished_deletes_nothing():
    """Its lock may have ended while it was stopped."""
    story = Story("drained", FEW)

    def sleep(_):
        means_done = {story.shards.day_state(2, day) for day in (FIRST, LAST)}
        if DayState.DONE not in means_done:
            moved(story)

    with pytest.raises(MoveRefused):
        mover_of(story, sleep).run()
    story.judge()
    story = Story("drained", FEW)
    slow = mover_of(story)
    enter = slow._store._store.enter

    def slept(day, state):
        enter(day, state)
        if state == DayState.RETURNED:
            story.shards._day_states[2, day] = DayState.COPYING
            moved(story)

    slow._store._store.enter = slept
    with pytest.raises(MoveRefused):
        slow.give_up()
    story.judge()


class Spoilt(Mover):
    """Between checksums and sample, copies change."""

    def _sampled(self, day):
        for shard in range(SHARDS):
            rows = [row for row in self._store._story.shards.stored("m1", shard) if row["moved"]]
            self._store._story.shards.put(shard, "m1", [{**row, "n": row["n"] + 1} for row in rows])
        return super()._sampled(day)


def test_a_day_stays_when_too_many_of_a_sample_differ():
    """The copies are deleted, and the day may move again by another map."""
    story = Story("drained", FEW)
    report = moved(story, mover=Spoilt)
    assert len(report.given_up) == 2
    assert story.shards.day_state(2, FIRST) == DayState.RETURNED
    assert not [
        row for table in WINDOW_TABLES for row in story.shards.stored(table) if row["moved"]
    ]
