"""The windows of one day are placed by one map, however late and often a partition takes new maps."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streams.connect.sinks.sharding import HashSharding, ShardMap
from streams.core.rows.dated_map import DatedMap, MapIdentity
from streams.engine.state.placements import (
    MINUTES_PER_DAY,
    Placements,
    TakenMap,
    first_days,
    take,
    unknown,
)

TODAY = 20_000
RECORDED = [ShardMap(2, HashSharding(2)).dated()]


def recorded(days):
    """Maps, each with one more shard, from ascending days on."""
    later = [
        ShardMap(3 + n, HashSharding(3 + n)).dated(TODAY + day)
        for n, day in enumerate(sorted(days))
    ]
    return [*RECORDED, *later]


def no_windows(first, last):
    return False


class Chain:
    """A partition: its commits, and the map numbers that ever placed a day."""

    def __init__(self):
        self.taken, self.last_day = (), -1
        self.placed = {}
        self.live = set()
        """days of live windows"""

    def has_windows(self, first, last):
        return any(first <= day <= last for day in self.live)

    def take(self, maps):
        self.taken = take(self.taken, maps, self.last_day, self.has_windows, 0)

    def fold(self, day):
        self.last_day = max(self.last_day, day)
        self.look(day)

    def look(self, day):
        """Place a window of ``day`` as a new owner does that has just loaded the state."""
        placements = Placements(2, lambda *_: None)
        for one in self.taken:
            placements.add(one.first_day, one.last_day, 9, lambda *_: None)
        (number,) = placements.numbers(np.array([day * MINUTES_PER_DAY + 77]))
        days = first_days(self.taken)
        if len(days) == len(self.taken):  # no move, which would leave rows of `app.windows`
            assert bisect_right(days, day) == number
        self.placed.setdefault(day, set()).add(int(number))
        return int(number)


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("fold"), st.integers(-6, 9)),
        st.tuples(st.just("know"), st.integers(0, 4)),
    ),
    max_size=40,
)


@given(st.lists(st.integers(-3, 8), max_size=4), ACTIONS)
def test_a_day_is_always_placed_by_one_map(days, actions):
    """Views add the rows of all shards: a row that moves to another shard counts twice."""
    maps, known, chain = recorded(days), 1, Chain()
    for action, number in actions:
        if action == "fold":
            chain.fold(TODAY + number)
        else:
            known = max(known, min(1 + number, len(maps)))
            chain.take(maps[:known])
        for day in list(chain.placed):
            chain.look(day)  # late rows and restarts
    assert all(len(numbers) == 1 for numbers in chain.placed.values())


@given(st.lists(st.integers(1, 8), max_size=4), st.integers(-6, 0))
def test_maps_taken_in_time_apply_from_their_day(days, last):
    """The day that an operator names applies unless a window of a later day exists."""
    maps = recorded(days)
    taken = take((), maps, TODAY + last, no_windows, 0)
    assert [one.first_day for one in taken] == [dated.first_day for dated in maps[1:]]


@given(st.lists(st.integers(-3, 8), max_size=4), st.lists(st.integers(-6, 9), max_size=5))
def test_a_chain_keeps_its_maps_and_appends_new_ones_in_order(days, lasts):
    """The next owner may know more maps, but not different ones."""
    maps, taken = recorded(days), ()
    for number, last in enumerate(lasts):
        before = taken
        taken = take(before, maps[: 2 + number], TODAY + last, no_windows, 0)
        assert taken[: len(before)] == before
        assert all(one.first_day > TODAY + last for one in taken[len(before) :])
    first_days = [one.first_day for one in taken]
    assert first_days == sorted(first_days)
    assert unknown(taken, maps) is None


def test_a_map_that_differs_from_the_record_is_reported():
    """The servers belong to another installation, or the record is an old backup."""
    maps = recorded([1, 2])
    taken = take((), maps, TODAY, no_windows, 0)
    assert unknown(taken, maps[:2]) == maps[2].identity
    assert unknown([TakenMap("ff 9 shards by hash", TODAY + 1)], maps).description == (
        "9 shards by hash"
    )


MOVES = st.lists(st.tuples(st.integers(-6, -1), st.integers(0, 3)), min_size=1, max_size=3)
LIFE = st.lists(
    st.one_of(
        st.tuples(st.just("fold"), st.integers(-6, 1)),
        st.tuples(st.just("evict"), st.integers(-6, 1)),
        st.tuples(st.just("know"), st.integers(0, 4)),
    ),
    max_size=40,
)


@given(MOVES, LIFE)
def test_a_live_window_keeps_its_shard_while_moves_are_taken(moves, actions):
    """The key of its row is on one shard, whenever a restart places it again."""
    maps = [
        *RECORDED,
        *(
            DatedMap(
                MapIdentity(str(n), "a move"),
                2,
                lambda *_: None,
                lambda _: 0,
                TODAY + day,
                TODAY + day + long,
            )
            for n, (day, long) in enumerate(moves)
        ),
    ]
    chain, known, began = Chain(), 1, {}
    for action, number in actions:
        day = TODAY + number
        if action == "fold":
            chain.last_day = max(chain.last_day, day)
            chain.live.add(day)
            began.setdefault(day, chain.look(day))
        elif action == "evict":
            chain.live.discard(day)
            began.pop(day, None)
        else:
            known = max(known, min(1 + number, len(maps)))
        chain.take(maps[:known])
        assert began == {day: chain.look(day) for day in chain.live}
    chain.live.clear()
    chain.take(maps)
    assert [one.map for one in chain.taken] == [str(one.identity) for one in maps[1:]]
    for number, one in enumerate(maps[1:], 1):
        later = maps[number + 1 :]
        for day in range(one.first_day, one.last_day + 1):
            if not any(other.moves(day) for other in later):
                assert chain.look(day) == number
