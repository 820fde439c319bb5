"""An operator who moves the stored rows of a day to other shards, also again and back, while the engine
runs. The mover is a process, which may die between any two of its calls.

A mover's calls follow each other without a step of the engine between them: the engine goes on between
two runs. So what readers count must be the same before and after each call, also by what they read since
the mover last gave them time.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from streams.connect.broker.opened import opened
from streams.connect.sinks.map_record import DayState, MapRecord
from streams.connect.sinks.memory import MemoryShards
from streams.connect.sinks.moves.memory import MemoryMoves
from streams.connect.sinks.moves.notes import MoveOrder
from streams.connect.sinks.sharding import HashSharding, ShardMap, WithoutShards
from streams.core.command_errors import MoveDiffers, MoveRefused
from streams.core.errors import DiaError
from streams.core.rows.built_in_tables import WINDOW_TABLES
from streams.core.types import LogReader
from streams.dev.simulation.world import Difference, World
from streams.operate.shards.mover import MoveMeans, MoveOptions, Mover
from streams.operate.shards.running_move import places_days, waits

_DAY_S = 86_400
_MOVES = 3
_OVER = (DayState.DONE, DayState.RETURNED)
_CALLS = 90
"""about as many as a mover makes"""
_CHANGES = frozenset(
    {"roll_up", "copy", "delete_portion", "enter", "delete_originals", "delete_copies"}
)
_Place: TypeAlias = tuple[Any, ...]
"""table, series or key, and day"""


class _Dead(Exception):  # noqa: N818 - the process of the mover
    pass


class Moves:
    """In ``share`` of all runs."""

    def __init__(self, world: World, rng: random.Random, *, share: float) -> None:
        self._world = world
        self._rng = rng
        self._present = rng.random() < share
        self._day = world.start_ms // 1000 // _DAY_S
        self._record: MapRecord | None = None
        """of the newest move"""

    async def strike(self) -> None:
        """Plan a move, run its mover for some calls, or cancel it; mostly nothing."""
        if not self._present or self._rng.random() >= 0.4:
            return
        if not self._unfinished:
            if len(self._world.shards.recorded_moves) < _MOVES:
                self._plan()
        elif self._rng.random() < 0.1:
            self._run(Mover.give_up, self._rng.randrange(_CALLS))
        elif await self._taken():
            self._run(Mover.run, self._rng.randrange(_CALLS))

    async def heal(self) -> None:
        """At a quiet moment: let the mover die some times, and end the move, or cancel it where a
        partition has not taken it."""
        if not self._present or not self._unfinished:
            return
        work = Mover.run if await self._taken() else Mover.give_up
        for _ in range(self._rng.randrange(3)):
            self._run(work, self._rng.randrange(_CALLS))
        self._run(work, None)
        if self._unfinished:
            raise Difference(f"a move does not end: {self._world.shards.maps[-1]}")

    @property
    def _unfinished(self) -> bool:
        record = self._record
        if record is None:
            return False
        store = MemoryMoves(self._world.shards, record.version)
        return any(store.state(day) not in _OVER for day in record.days)

    def _plan(self) -> None:
        shards = self._world.shards
        count = shards.count
        strategy: HashSharding | WithoutShards = HashSharding(count)
        if self._rng.random() < 0.7:
            strategy = WithoutShards(count, HashSharding(count), (self._rng.randrange(count),))
        self._record = MapRecord.of(
            ShardMap(count, strategy),
            [[f"shard-{number}"] for number in range(count)],
            version=len(shards.maps) + 1,
            first_day=self._day,
            last_day=self._day,
        )
        shards.add_move(self._record)

    async def _taken(self) -> bool:
        assert self._record is not None, "a move is planned"
        try:
            async with opened(self._world.broker.reader()) as reader:
                return await all_took(self._world, reader, self._record)
        except DiaError:
            return False

    def _run(self, work: Callable[[Mover], Any], calls: int | None) -> None:
        assert self._record is not None, "a move is planned"
        readers = _Readers(self._world)
        store: Any = _Watched(
            self._world, MemoryMoves(self._world.shards, self._record.version), calls, readers
        )
        order = MoveOrder(batch=self._rng.choice((2, 5, 1000)))
        means = MoveMeans(
            taken=lambda: None,
            check=lambda: None,
            say=lambda _: None,
            sleep=lambda _: readers.given_time(),
            clock=self._world.clock,
            retention_days=self._world.settings.m1_retention_days,
            order=lambda: order,
            told=lambda _: None,
        )
        options = MoveOptions(seed=self._rng.getrandbits(16))
        try:
            work(Mover(store, options, means))
        except (_Dead, MoveDiffers, MoveRefused):
            return


async def all_took(world: World, reader: LogReader, record: MapRecord) -> bool:
    """Whether the last commit of every partition names the move (M4)."""
    for agent in filter(places_days, world.agents):
        for number in range(world.partitions):
            if await waits(reader, agent, number, record):
                return False
    return True


class _Readers:
    """Each goes by the states of moves as they were when it read them, and answers before the mover's next
    wait for readers is over."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._seen = [world.shards.as_read_now()]

    def read(self) -> None:
        self._seen.append(self._world.shards.as_read_now())

    def given_time(self) -> None:
        del self._seen[:-1]

    def counts(self) -> Iterator[Counter[_Place]]:
        """What each counts, the newest last."""
        return map(_visible, self._seen)


class _Watched:
    """A store that counts for its mover: after ``calls`` of them the process is dead."""

    def __init__(
        self, world: World, store: MemoryMoves, calls: int | None, readers: _Readers
    ) -> None:
        self._store = store
        self._left = calls
        self._readers = readers
        self._before = _visible(world.shards)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if not callable(found):
            return found

        def called(*arguments: Any, **named: Any) -> Any:
            if self._left == 0:
                raise _Dead
            if self._left is not None:
                self._left -= 1
            result = found(*arguments, **named)
            if name in _CHANGES:
                self._look(name)
            return result

        return called

    def _look(self, call: str) -> None:
        if call == "enter":
            self._readers.read()
        counted = [*self._readers.counts()]
        for now in counted:
            if call != "roll_up" and now != self._before:
                changed = {
                    key: (self._before[key], now[key])
                    for key in self._before.keys() | now.keys()
                    if self._before[key] != now[key]
                }
                raise Difference(f"{call} of a mover changes what readers count: {changed}")
        self._before = counted[-1]


def _visible(shards: MemoryShards) -> Counter[_Place]:
    """Events by table, series and day; of `app.windows` rows by key and day."""
    found: Counter[_Place] = Counter()
    for table in filter(shards.moves, shards.stored_tables):
        for row in shards.rows(table):
            place = (table, *shards.names(table, row), shards.day(table, row))
            found[place] += row["n"] if table in WINDOW_TABLES else 1
    return found
