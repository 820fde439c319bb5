"""Faults of a source's log: unreadable batches, which an operator skips, lost lists, new leaders,
or loss of consumed records."""

from __future__ import annotations

import asyncio
import json
import random

from streams.connect.broker.memory.log import Log
from streams.connect.broker.partitioner import partition_of
from streams.core.errors import BatchUnreadable, DiaError
from streams.core.types import TopicPartition
from streams.dev.simulation.checks.witness import Witness
from streams.dev.simulation.faults.fault_injector import FaultInjector
from streams.dev.simulation.inputs.producers import Producers
from streams.dev.simulation.operators.sheds import Given, Sheds, shed_ranges
from streams.dev.simulation.world import Difference, Process, World
from streams.operate.shed.shed_admin import give_orders, plan_unreadable

_SPOILT_MAX = 3
_ELECTION_S = 0.05
"""Records of one offset in two logs differ in append time (milliseconds)."""
_CREATED_AFTER_S = 6.0
"""Longer than a consumer without answers assumes the same log."""
_NOTICED_WITHIN_S = 60.0
"""Longer than any fault of the broker lasts."""
_TAKEN_OVER_S = 9.0
"""Longer than a member's session and the start of another process."""


class Sources:
    """Faults in ``share`` of all runs."""

    def __init__(
        self, world: World, rng: random.Random, group: str, sheds: Sheds, *, share: float
    ) -> None:
        self._world = world
        self._rng = rng
        self._group = group
        self._sheds = sheds
        self._partitions = [TopicPartition(sheds.topic, p) for p in range(world.partitions)]
        self._number = 0
        self.present = rng.random() < share
        self._away = random.Random(f"away {rng.random()}")

    async def strike(self, producers: Producers, injector: FaultInjector) -> None:
        """Mostly nothing."""
        if not self.present:
            return
        if self._stopped(injector) and self._away.random() < 0.5:
            await self._pass_unnoticed(producers, injector)
        if self._rng.random() >= 0.35:
            return
        draw = self._rng.random()
        if draw < 0.3:
            await self._spoil(producers)
        elif draw < 0.75:
            self._world.broker.faults.lose_lists(self._rng.randint(1, 2))
        elif draw < 0.85:
            self._world.broker.log(self._rng.choice(self._partitions)).elect()
        else:
            await self.skip()

    async def skip(self) -> None:
        """If the broker answers."""
        if not self.present:
            return
        world = self._world
        self._number += 1
        name = f"skip-{self._number}"
        try:
            plans = await plan_unreadable(world.broker, world.clock, self._group, self._partitions)
            for found in plans:
                if found.shed:
                    given = Given(found.first, found.until)
                    self._sheds.given[name, found.tp.partition] = given
            await give_orders(world.broker, world.clock, plans, name, "guy", "broken client")
        except DiaError:
            return

    def _stopped(self, injector: FaultInjector) -> list[Process]:
        """Living processes with a partition that waits at an unreadable batch."""
        return [
            process
            for process in injector.processes
            for group in process.worker.groups
            for partition in group.partitions.values()
            if isinstance(partition.stopped_by, BatchUnreadable)
        ]

    async def _pass_unnoticed(self, producers: Producers, injector: FaultInjector) -> None:
        """While a stopped process is cut off from the brokers, another owner passes the batch and
        the next one, and dies. The second order replaces the first. The group gives the partition back to the
        stopped process, which did not learn that it was taken away."""
        process = self._away.choice(self._stopped(injector))
        broker = self._world.broker
        injector.mute(process)
        broker.cut_off = process
        injector.start_one()
        for _ in range(2):
            await self.skip()
            await asyncio.sleep(_TAKEN_OVER_S)
            await self._spoil(producers)
        await self.skip()
        await asyncio.sleep(_TAKEN_OVER_S)
        for other in injector.processes:
            if other is not process:
                await other.kill()
        await asyncio.sleep(_TAKEN_OVER_S)
        broker.cut_off = None
        injector.unmute(process)
        began_s = self._world.clock.monotonic()
        while waiting := self._waiting_at_passed(process):
            if self._world.clock.monotonic() - began_s > _NOTICED_WITHIN_S:
                raise Difference(f"{waiting[0]} waits at a batch that another owner has passed")
            await asyncio.sleep(1.0)

    def _waiting_at_passed(self, process: Process) -> list[TopicPartition]:
        """Partitions that the process holds stopped at an offset below the group's."""
        if not process.alive or process.failure is not None:
            return []
        held = [p for group in process.worker.groups for p in group.partitions.values()]
        return [
            partition.tp
            for partition in held
            if isinstance(met := partition.stopped_by, BatchUnreadable)
            and (done := self._world.broker.committed(self._group, partition.tp)) is not None
            and done.offset > met.offset
        ]

    async def _spoil(self, producers: Producers) -> None:
        logs = [self._world.broker.log(tp) for tp in self._partitions]
        before = [log.high_watermark for log in logs]
        await producers.send_some()
        for log, end in zip(logs, before, strict=True):
            first = max(end, log.high_watermark - _SPOILT_MAX)
            if first < log.high_watermark and self._rng.random() < 0.7:
                log.spoil(first, log.high_watermark)


def check_spoilt(world: World, topic: str) -> None:
    """Every record in an unreadable batch was skipped by order. Raises `Difference`."""
    shed = shed_ranges(world)
    for number in range(world.partitions):
        log = world.broker.log(TopicPartition(topic, number))
        skipped = {offset for one in shed[number] for offset in one}
        missing = log.spoilt_records - skipped
        if missing:
            raise Difference(f"{log.tp}: {sorted(missing)} were neither read nor shed")


class Loss:
    """A partition whose log loses consumed records and then grows past the consumed offset, in
    ``share`` of all runs. ``reached`` is the previous end of the log."""

    def __init__(self, world: World, rng: random.Random, topic: str, *, share: float) -> None:
        self._world = world
        self._rng = rng
        self._present = rng.random() < share
        self.tp = TopicPartition(topic, rng.randrange(world.partitions))
        self.reached = -1

    @property
    def happened(self) -> bool:
        return self.reached >= 0

    async def strike(self, witness: Witness) -> None:
        """Once, after enough commits: an unclean election, or a recreated topic."""
        world, link = self._world, witness.links.get(self.tp.partition)
        if (
            not self._present
            or self.happened
            or link is None
            or link.last_offset < world.first_offset + 8
        ):
            return
        if self._rng.random() < 0.5:
            return
        broker = self._world.broker
        log = broker.log(self.tp)
        self.reached = log.high_watermark
        if self._rng.random() < 0.5:
            log.lose_end(log.high_watermark - link.last_offset + self._rng.randint(0, 4))
            await asyncio.sleep(_ELECTION_S)
        else:
            broker.replace_log(self.tp)
            broker.log(self.tp).start_offset = world.first_offset
            await asyncio.sleep(_CREATED_AFTER_S)
        await self._fill(broker.log(self.tp))

    async def _fill(self, log: Log) -> None:
        number, of = self.tp.partition, self._world.partitions
        tenant = next(t for n in range(99) if partition_of((t := f"t{n}").encode(), of) == number)
        producer, end = self._world.broker.plain_producer(), self.reached + self._rng.randint(1, 9)
        while log.high_watermark < end:
            event = {
                "tenant_id": tenant, "model_id": "m0", "metric": "x", "value": 1.0,
                "event_id": f"new-{log.high_watermark}", "ts": self._world.clock.now_ms(),
            }  # fmt: skip
            await (await producer.send(log.tp.topic, tenant.encode(), json.dumps(event).encode()))

    def check(self, witness: Witness) -> None:
        """No record of the new log was folded. Raises `Difference`."""
        link = witness.links[self.tp.partition]
        if link.next_offset > self.reached:
            raise Difference(
                f"{self.tp} was folded up to {link.next_offset}, its log was replaced at "
                f"{self.reached}"
            )
