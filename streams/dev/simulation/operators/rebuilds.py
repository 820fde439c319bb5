"""An operator whose shards lose and spoil rows of finished windows, and who rebuilds them, while the
engine runs. A rebuild is a process, which may die between any two steps."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from streams.connect.broker.opened import opened
from streams.connect.sinks.memory_replica import Row
from streams.core.errors import DiaError
from streams.core.rows.built_in_tables import epoch_of, offset_of, version_of
from streams.core.settings import Settings
from streams.core.types import LogReader
from streams.dev.simulation.operators.memory_windows import MemoryWindows, facts_reader
from streams.dev.simulation.operators.replays import Runner
from streams.dev.simulation.world import Difference, World
from streams.engine.agents.agent import AgentSpec
from streams.operate.rebuild.rebuild import RebuildMeans, RebuildOptions, RebuildReport, rebuild
from streams.operate.rebuild.standing import standing_of

_DAY_S = 86_400
_BEFORE_S = 2 * _DAY_S
"""the oldest window of m1 that producers send, before the run's start"""
_AHEAD_S = 2 * _DAY_S
_WINDOWS = 10_000
"""of all days at once; the bound of the workers is for live ones"""


async def rebuilt(
    world: World, agent: AgentSpec, options: RebuildOptions, settings: Settings | None = None
) -> RebuildReport:
    """A rebuild of the rows of ``agent``, by default with the settings of the world."""
    async with opened(world.broker.reader()) as reader, opened(world.broker.admin()) as admin:
        means = RebuildMeans(
            settings=settings or world.settings,
            broker=world.broker,
            shards=world.shards.unwatched(),
            store=MemoryWindows(world.shards),
            facts=facts_reader(world, reader, admin).facts,
            clock=world.clock,
            say=lambda text: None,
            check=lambda: None,
        )
        return await rebuild(options, agent, means)


class Rebuilds:
    """In ``share`` of all runs."""

    def __init__(self, world: World, rng: random.Random, *, share: float) -> None:
        self._world = world
        self._rng = rng
        self._present = rng.random() < share
        self._runners: list[Runner] = []
        self._losses = 0
        agents = [agent for agent in world.agents if isinstance(agent, AgentSpec)]
        self._agent = agents[0] if agents else None

    async def strike(self) -> None:
        """Lose rows, begin a rebuild, kill one; mostly nothing."""
        if not self._present or self._rng.random() >= 0.3:
            return
        draw = self._rng.random()
        if draw < 0.4:
            self._runners.append(Runner(self._lose()))
        elif draw < 0.8:
            # two at once, as by impatient operators
            self._runners += [Runner(self._attempt()) for _ in range(self._rng.choice((1, 2)))]
        elif alive := [runner for runner in self._runners if not runner.done]:
            await self._rng.choice(alive).kill()

    async def heal(self) -> None:
        """At a quiet moment: lose rows once more, let rebuilds die, and let one finish."""
        if not self._present:
            return
        for runner in self._runners:
            await runner.ended()
        self._runners.clear()
        await self._lose()
        for _ in range(self._rng.randrange(3)):
            dying = Runner(self._attempt())
            await self._world.clock.sleep(self._rng.choice((0.0, 0.01, 0.05)))
            await dying.kill()
        report = await self._rebuild(RebuildOptions(**self._whole()))
        if report.notes:
            raise Difference(f"a rebuild of the whole log leaves out {report.notes}")

    def _whole(self) -> dict[str, Any]:
        """Whole days: a cut one is refused where rows before the cut are lost."""
        first_s = self._world.start_ms // 1000 - _BEFORE_S
        last_s = self._world.clock.now_ms() // 1000 + _AHEAD_S
        return {"from_s": first_s // _DAY_S * _DAY_S, "to_s": -(-last_s // _DAY_S) * _DAY_S}

    async def _attempt(self) -> None:
        chosen = self._whole()
        if self._rng.random() < 0.5:
            start_s = self._world.start_ms // 1000
            chosen["from_s"] = start_s + 60 * self._rng.randint(-10, 10)
        # A slow one sees days move, and workers die, while it reads.
        chosen["rate"] = self._rng.choice((None, 3.0, 20.0))
        losses = self._losses
        try:
            report = await self._rebuild(RebuildOptions(**chosen))
            if report.refused:
                return
            again = await self._rebuild(RebuildOptions(**chosen, dry_run=True))
        except DiaError:
            return  # a dependency is away, or ledger and shed ranges are behind
        left = [one for one in again.partitions if one.lost or one.changed or one.emptied]
        if left and losses == self._losses:
            raise Difference(f"a rebuild that ended leaves {left}")

    async def _rebuild(self, options: RebuildOptions) -> RebuildReport:
        assert self._agent is not None, "the story has a batch agent"
        settings = replace(self._world.settings, max_live_windows=_WINDOWS)
        return await rebuilt(self._world, self._agent, options, settings)

    async def _lose(self) -> None:
        """Rows whose incarnation its owner has forgotten: only a rebuild brings them back. None while
        readers take originals or copies of a day in turn: the other ones would bring a lost row back."""
        if self._world.shards.shows_moving_days:
            return
        try:
            async with opened(self._world.broker.reader()) as reader:
                ended = await self._ended(reader)
        except DiaError:
            return
        self._losses += 1
        for shard in range(self._world.shards.count):
            for row in self._world.shards.stored("m1", shard):
                if (row["part"], row["inc"]) in ended and self._rng.random() < 0.5:
                    self._spoil(shard, row)
            for table in ("h1", "d1"):
                for row in self._world.shards.stored(table, shard):
                    if not row["inc"] and self._rng.random() < 0.1:
                        self._drop(shard, table, row)

    async def _ended(self, reader: LogReader) -> set[tuple[int, int]]:
        assert self._agent is not None, "the story has a batch agent"
        agent, maps = self._agent, tuple(self._world.shards.maps)
        ended: set[tuple[int, int]] = set()
        for part in range(self._world.partitions):
            found = await standing_of(reader, agent.source, agent.group, part, maps)
            if found is not None:
                live = set(found.live_incarnations.tolist())
                ended |= {
                    (part, row["inc"])
                    for row in self._world.shards.stored("m1")
                    if row["part"] == part and row["inc"] not in live and row["inc"] < found.beyond
                }
        return ended

    def _spoil(self, shard: int, row: Row) -> None:
        draw = self._rng.random()
        if draw < 0.6:
            self._drop(shard, "m1", row)
        elif draw < 0.8:
            self._change(shard, row)
        else:
            # a row of which the log has no record: it ends before the next one of its window begins
            offset = offset_of(row["inc"]) - 1
            if offset >= self._world.first_offset:
                inc = version_of(epoch_of(row["inc"]), offset + 1)
                self._put(shard, {**row, "inc": inc, "ver": inc})

    def _change(self, shard: int, row: Row) -> None:
        self._drop(shard, "m1", row)
        self._put(shard, {**row, "n": row["n"] + 1, "s1": row["s1"] + 7.0})

    def _put(self, shard: int, row: Row) -> None:
        for replica in self._world.shards.replicas(shard):
            key = tuple(row[name] for name in self._world.shards.key("m1"))
            if key not in replica.tables["m1"]:
                replica.put("m1", row)

    def _drop(self, shard: int, table: str, row: Row) -> None:
        key = tuple(row[name] for name in self._world.shards.key(table))
        for replica in self._world.shards.replicas(shard):
            replica.tables[table].pop(key, None)
