"""Random faults of processes, broker, shards, disks and clocks."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from zlib import crc32

from streams.connect.broker.memory.consumer import MemoryConsumer
from streams.connect.broker.memory.faults import (
    COORDINATOR_REFUSALS,
    TRANSACTION_REFUSALS,
    Call,
    SpoiledRead,
)
from streams.connect.sinks.memory_replica import Row
from streams.core.degradation.level import Level, Reading
from streams.core.errors import BrokerUnavailable, DiaError
from streams.core.topics.topic import Topic
from streams.core.types import TopicPartition
from streams.dev.simulation.faults.deaf_calls import DeafCalls
from streams.dev.simulation.world import Process, World, die_here

HOSTS = ("a", "b")
SLOTS = 2
_CALLS: tuple[Call, ...] = (
    "join", "fetch", "read", "start", "send", "send_offsets", "commit", "admin",
)  # fmt: skip
_COMMIT_CALLS: tuple[Call, ...] = ("start", "send", "send_offsets", "commit")

_STEPS: tuple[Call, ...] = ("send", "send_offsets", "commit")

_SPOILED_READS = (
    SpoiledRead(throttle_s=2.0),
    SpoiledRead(records_max=0),
    SpoiledRead(records_max=2),
    SpoiledRead(behind=3),
    SpoiledRead(behind=40),
)

Fault = Callable[[], Awaitable[None] | None]


class FaultInjector:
    """Injects faults into `World` one at a time; `clear` ends them."""

    def __init__(self, world: World, rng: random.Random, source: Topic, group: str) -> None:
        self._world = world
        self._source = source
        self._group = group
        self._rng = rng
        self._processes: list[Process] = []
        self._muted: list[tuple[Process, MemoryConsumer]] = []
        self.deaf = DeafCalls(world)
        faults = world.broker.faults
        self._faults: tuple[tuple[int, Fault], ...] = (
            (12, self._kill),
            (12, self.start_one),
            (6, self._stop),
            (12, self._die_at_a_call),
            (8, self._die_at_a_write),
            (8, self._doubt),
            (4, lambda: faults.refuse_send(nth=rng.randint(1, 4))),
            (6, self._fail_a_call),
            (6, self._delay_a_call),
            (3, self._broker_away),
            (5, lambda: world.broker.rebalance(group)),
            (6, self._mute),
            (4, self._unmute),
            (12, self._disturb_a_shard),
            (2, self._spoil_a_disk),
            (2, self._wipe_a_disk),
            (2, self._jump_clock),
            (3, lambda: faults.duplicate_markers(rng.randint(1, 3))),
            (2, lambda: faults.duplicate_callbacks(1)),
        )

    async def strike(self) -> None:
        weights = [weight for weight, _ in self._faults]
        _, fault = self._rng.choices(self._faults, weights)[0]
        outcome = fault()
        if outcome is not None:
            await outcome

    def misanswer(self, rng: random.Random) -> None:
        """The broker answers with less, later, or an error, as a real one may."""
        faults, draw = self._world.broker.faults, rng.random()
        if draw < 0.3:
            faults.refuse_offsets(rng.choice([*COORDINATOR_REFUSALS]), rng.choice((0.5, 4.0, 15.0)))
        elif draw < 0.45:
            faults.refuse_trims(rng.randint(1, 3))
        elif draw < 0.8:
            self._spoil_changelog(rng, rng.randrange(self._world.partitions))
        else:
            log = rng.choice(self._world.broker.partitions())
            faults.spoil_reads(rng.choice(_SPOILED_READS), times=rng.randint(1, 4), of=log)

    def elect(self, rng: random.Random) -> None:
        """Leaders and coordinators move, with delayed replication and markers."""
        broker, draw = self._world.broker, rng.random()
        if draw < 0.1:
            broker.faults.tear_commit(offsets_stand=rng.random() < 0.7)
        elif draw < 0.4:
            log = broker.log(rng.choice(broker.partitions()))
            broker.replicas.elect(log, rng.choice((1, 3, 40)), rng.choice((0.5, 4.0, 15.0)))
        elif draw < 0.75:
            broker.replicas.delay_markers(*rng.choices((0.0, 0.3, 2.0, 6.0), k=rng.randint(1, 5)))
            if rng.random() < 0.5:  # its process reopens the partition meanwhile
                broker.faults.doubt_commit(applied=True)
        else:
            step = rng.choice(_STEPS)
            code, times = rng.choice([*TRANSACTION_REFUSALS]), rng.randint(1, 3)
            applied = step != "send" and rng.random() < 0.5
            broker.faults.refuse_steps(step, code, applied=applied, times=times)

    def elect_for_a_restore(self, rng: random.Random) -> None:
        """A new leader of each changelog, just before a partition is restored from one."""
        broker = self._world.broker
        for number in range(self._world.partitions):
            changelog = TopicPartition(self._source.changelog(self._group), number)
            broker.replicas.elect(broker.log(changelog), rng.randint(1, 3), rng.choice((4.0, 15.0)))
        broker.faults.doubt_commit(applied=True)

    def spoil_restores(self, rng: random.Random) -> None:
        """Spoil the next reads of the changelogs."""
        for number in range(self._world.partitions):
            self._spoil_changelog(rng, number)

    def _spoil_changelog(self, rng: random.Random, number: int) -> None:
        log = TopicPartition(self._source.changelog(self._group), number)
        read, times = rng.choice(_SPOILED_READS), rng.randint(1, 4)
        self._world.broker.faults.spoil_reads(read, times=times, of=log)

    async def clear(self, *, kill: bool) -> list[Process]:
        """Returns the surviving processes: none, if ``kill``."""
        self.deaf.clear()
        self._world.broker.replicas.heal()
        self._world.broker.faults.heal()
        for shard in self._world.shards.faults:
            shard.down = shard.busy = False
            shard.slow_s, shard.fail_after_rows, shard.refuse = 0.0, None, None
            shard.fail_roll_ups = 0
        self._world.readings.clear()
        for disk in self._world.disks.values():
            disk.die_before_write = disk.die_after_write = False
        while self._muted:
            self._unmute()
        survivors = [p for p in self._alive() if p.failure is None and not kill]
        for process in self._processes:
            if process not in survivors:
                await process.kill()
        return survivors

    def start_one(self) -> None:
        taken = {(p.host, p.slot) for p in self._alive()}
        free = [(h, s) for h in HOSTS for s in range(SLOTS) if (h, s) not in taken]
        if free:
            host, slot = self._rng.choice(free)
            process = self._world.process(slot, host)
            self._processes.append(process)
            process.start()

    @property
    def processes(self) -> list[Process]:
        return list(self._alive())

    def _alive(self) -> list[Process]:
        self._processes = [p for p in self._processes if p.alive]
        return self._processes

    async def _kill(self) -> None:
        if alive := self._alive():
            await self._rng.choice(alive).kill()
        if self._rng.random() < 0.7:
            self.start_one()

    async def _stop(self) -> None:
        if alive := self._alive():
            process = self._rng.choice(alive)
            try:
                await process.stop()
            except DiaError:
                await process.kill()

    def _mute(self) -> None:
        if alive := self._alive():
            self.mute(self._rng.choice(alive))

    def mute(self, process: Process) -> None:
        """A zombie, once the group has moved on."""
        member = self._world.broker.members[process.name]
        member.mute()
        self._muted.append((process, member))

    def unmute(self, process: Process) -> None:
        """Its heartbeats go on, unless they do already or the process ended."""
        for muted in [muted for muted in self._muted if muted[0] is process]:
            self._muted.remove(muted)
            self._listen(*muted)

    def _unmute(self) -> None:
        if self._muted:
            self._listen(*self._muted.pop(0))

    def _listen(self, process: Process, member: MemoryConsumer) -> None:
        if process.alive and self._world.broker.members[process.name] is member:
            member.unmute()

    def _die_at_a_call(self) -> None:
        call, nth = self._rng.choice(_CALLS), self._rng.randint(1, 6)
        self._world.broker.faults.before(call, die_here, nth=nth)

    def _doubt(self) -> None:
        applied = self._rng.random() < 0.5
        self._world.broker.faults.doubt_commit(applied=applied, nth=self._rng.randint(1, 3))

    def _fail_a_call(self) -> None:
        call, nth = self._rng.choice(_COMMIT_CALLS), self._rng.randint(1, 4)
        self._world.broker.faults.fail(call, BrokerUnavailable("scripted"), nth=nth)

    def _delay_a_call(self) -> None:
        call, nth = self._rng.choice(_COMMIT_CALLS), self._rng.randint(1, 4)
        self._world.broker.faults.delay(call, self._rng.choice((0.1, 1.0, 6.0)), nth=nth)

    async def _broker_away(self) -> None:
        self._world.broker.faults.down()
        await asyncio.sleep(self._rng.choice((0.5, 5.0, 20.0)))
        self._world.broker.faults.up()

    def _disturb_a_shard(self) -> None:
        rng = self._rng
        shard = rng.choice(self._world.shards.faults)
        shard.down, shard.busy = rng.random() < 0.4, rng.random() < 0.2
        shard.slow_s = rng.choice((0.0, 0.0, 0.5, 8.0))
        shard.fail_after_rows = rng.choice((None, None, 1, 5))
        shard.refuse = rng.choice((None, None, _refuse_some_rows))
        shard.fail_roll_ups = rng.choice((0, 0, 4))

    def _die_at_a_write(self) -> None:
        for disk in self._world.disks.values():
            if self._rng.random() < 0.5:
                disk.die_before_write = True
            else:
                disk.die_after_write = True

    def _spoil_a_disk(self) -> None:
        disk = self._rng.choice(list(self._world.disks.values()))
        disk.unusable.update(disk.folders)

    def misread(self, rng: random.Random) -> None:
        """Processes of a host read a wrong level of their disk."""
        self._world.readings[rng.choice(HOSTS)] = Reading(rng.choice(list(Level)), "scripted")

    def _wipe_a_disk(self) -> None:
        self._rng.choice(list(self._world.disks.values())).folders.clear()

    def _jump_clock(self) -> None:
        self._world.jump_clocks(self._rng.choice((-30_000, -500, 500, 120_000)))


_WINDOWS_REFUSED_BY = dict.fromkeys(("m1", "h1", "d1"), ("tenant", "model", "w"))
_REFUSED_BY = {
    "simulations": ("request_id",),
    "ledger": ("part", "read"),
    **_WINDOWS_REFUSED_BY,
}
"""columns that decide whether a row is refused, the same at every attempt"""


def _refuse_some_rows(table: str, row: Row) -> bool:
    """A quarter of the rows."""
    names = _REFUSED_BY.get(table)
    return names is not None and _refused(*(row[name] for name in names))


def refuse_some_windows(table: str, row: Row) -> bool:
    """The same quarter, of windows only."""
    return table in _WINDOWS_REFUSED_BY and _refuse_some_rows(table, row)


def _refused(*values: object) -> bool:
    return crc32(" ".join(map(str, values)).encode()) % 4 == 0
