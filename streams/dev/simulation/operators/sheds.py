"""An operator who sheds old records under faults, and returns some of them."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise
from typing import NamedTuple

from streams.core.errors import DiaError
from streams.core.records.headers import REPLAY_SHED
from streams.core.topics.topic import Topic
from streams.core.types import TopicPartition
from streams.dev.simulation.operators.replays import Runner
from streams.dev.simulation.world import Difference, World
from streams.operate.replay.run.pace import ReplayPace
from streams.operate.replay.shed_return import ShedSpan, bring_back
from streams.operate.shed.shed_admin import give_orders, plan, standings, withdraw

_AGES_S = (0.0, 1.0, 10.0)


class Given(NamedTuple):
    """It may or may not exist: its answer may have been lost."""

    first: int
    until: int


class Sheds:
    """An operator in ``share`` of all runs."""

    def __init__(
        self, world: World, rng: random.Random, source: Topic, group: str, *, share: float
    ) -> None:
        self._world = world
        self._rng = rng
        self._group = group
        self._partitions = [TopicPartition(source.name, p) for p in range(world.partitions)]
        self._runners: list[Runner] = []
        self._number = 0
        self.topic = source.name
        self._present = rng.random() < share
        self.given: dict[tuple[str, int], Given] = {}
        """by order id and partition"""
        self.returned: dict[str, ShedSpan] = {}
        """spans whose return was begun"""

    async def strike(self) -> None:
        """Give an order, cancel a pending one, return shed records, possibly dying; mostly
        nothing."""
        if not self._present or self._rng.random() >= 0.3:
            return
        draw = self._rng.random()
        # Brokers restart during a backlog, which then spans several leader epochs.
        place = self._partitions[int(draw * 1000) % len(self._partitions)]
        self._world.broker.log(place).elect()
        if draw < 0.4:
            self._runners.append(Runner(self._order()))
        elif draw < 0.5:
            self._runners.append(Runner(self._withdraw()))
        elif draw < 0.85:
            # two concurrent returns, as by an impatient operator
            self._runners += [Runner(self._return()) for _ in range(self._rng.choice((1, 2)))]
        elif alive := [runner for runner in self._runners if not runner.done]:
            await self._rng.choice(alive).kill()

    async def finish(self) -> None:
        """At the quiet end: each open order is carried out, and each return completed."""
        for runner in self._runners:
            await runner.ended()
        for span in self.returned.values():
            await self._bring_back(span)

    async def _order(self) -> None:
        world, rng = self._world, self._rng
        self._number += 1
        name = f"order-{self._number}"
        before_ms = world.clock.now_ms() - int(rng.choice(_AGES_S) * 1000)
        some = rng.sample(self._partitions, rng.randint(1, len(self._partitions)))
        try:
            plans = await plan(world.broker, self._group, some, before_ms)
            for found in plans:
                # a torn commit leaves the group's offset ahead
                torn = world.broker.is_torn(self._group, found.tp)
                first = 0 if torn else found.first
                self.given[name, found.tp.partition] = Given(first, found.until)
            await give_orders(world.broker, world.clock, plans, name, "eve", "too old")
        except DiaError:
            return

    async def _return(self) -> None:
        spans = _spans(self._world)
        if not spans:
            return
        span = spans[-1]
        self.returned[span.name] = span
        try:
            await self._bring_back(span)
        except DiaError:
            return

    async def _bring_back(self, span: ShedSpan) -> None:
        world = self._world
        pace = ReplayPace(world.clock, self._rng.choice((None, 8.0, 8.0)))
        await bring_back(world.broker, world.clock, span, pace, lambda count: None)

    async def _withdraw(self) -> None:
        world = self._world
        try:
            found = await standings(world.broker, self._group, self._partitions)
            waiting = [standing for standing in found if standing.state == "waiting"]
            await withdraw(world.broker, world.clock, waiting, "fay")
        except DiaError:
            return


def _spans(world: World) -> list[ShedSpan]:
    return [
        ShedSpan(
            order=row["order_id"],
            tp=TopicPartition(row["topic"], row["part"]),
            first=row["from_offset"],
            until=row["to_offset"],
            at_ms=row["at"],
        )
        for row in world.shards.rows("shed_ranges")
    ]


def shed_ranges(world: World) -> dict[int, list[range]]:
    """By partition, the offsets that the pipeline reports as skipped by order. Raises `Difference`
    for overlaps."""
    found: dict[int, list[range]] = {number: [] for number in range(world.partitions)}
    for row in world.shards.rows("shed_ranges"):
        skipped = range(row["from_offset"], row["to_offset"])
        if not skipped or len(skipped) != row["shed"]:
            raise Difference(f"{row} is no range")
        found[row["part"]].append(skipped)
    for number, ranges in found.items():
        ranges.sort(key=lambda one: one.start)
        for before, after in pairwise(ranges):
            if after.start < before.stop:
                raise Difference(f"partition {number} shed {before} and {after}")
    return found


def check_sheds(world: World, sheds: Sheds) -> None:
    """Each range ends at an order's end, and begins at the group's offset then or later. Returned
    records were sent completely and once. Raises `Difference`."""
    _check_returned(world, sheds)
    for row in world.shards.rows("shed_ranges"):
        given = sheds.given.get((row["order_id"], row["part"]))
        if given is None or row["from_offset"] < given.first or row["to_offset"] != given.until:
            raise Difference(f"{row} was not ordered: {given}")


def _check_returned(world: World, sheds: Sheds) -> None:
    sent: Counter[str] = Counter()
    wanted: Counter[str] = Counter()
    for number in range(world.partitions):
        log = world.broker.log(TopicPartition(sheds.topic, number)).readable()
        for offset, pairs in zip(log.offsets, log.headers, strict=True):
            name = dict(pairs).get(REPLAY_SHED)
            if name is not None:
                sent[name.decode()] += 1
            for span in sheds.returned.values():
                if span.tp == log.tp and span.first <= offset < span.until:
                    wanted[f"{log.tp}/{offset}"] += 1
    if sent != wanted:
        lost, extra = sorted((wanted - sent).elements()), sorted((sent - wanted).elements())
        raise Difference(f"brought back: lost {lost}, unexpected {extra}")
