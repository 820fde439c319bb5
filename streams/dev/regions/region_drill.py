"""Loses the active one of two regions at load, makes the other active, and brings the lost one back.

The procedure is that of docs/protocols/regions.md, by its commands. Clients post all the time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import msgspec

from agents.app import MODEL_METRICS, app
from streams.connect.broker.opened import opened
from streams.core.clock import Clock
from streams.core.errors import CommandError
from streams.core.resilience.deadline import Deadline
from streams.core.types import TopicPartition
from streams.dev.demo.balance import balance
from streams.dev.demo.reading import TopicReading
from streams.dev.demo.run import PAST_MS
from streams.dev.regions.global_address import GlobalAddress
from streams.dev.regions.local_region import LocalRegion
from streams.dev.workload.generator import Generator
from streams.dev.workload.shape import STEP_MS, Workload
from streams.operate.produce.feed import RecordFeed
from streams.operate.regions.mirrored import Unmirrored, missing_of, oldest_s, unmirrored

SMALL = 1_000
"""events before the loss and after the return, each"""
LOSE_AT = 0.2
"""share of the events that the other region has read when the first one is lost"""
BLOCKS_PER_S = 20
RTO_AIM_S = 900.0
RPO_AIM_S = 300.0
WAIT_S = 300.0
POLL_S = 0.5
STATUS_S = 1.0
"""Status files that are older may precede the last event."""


class _Range(msgspec.Struct):
    topic: str
    partition: int
    first: int


class _Switched(msgspec.Struct):
    """What `dia region failover --json` says."""

    active: str
    total_s: float
    unmirrored: list[_Range]


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionDrillResult:
    """Times in seconds. ``rto_s``: from the loss to the first event that the other region accepted.
    ``rpo_s``: age, at the loss, of the oldest record in ``unmirrored``, which the new region did not
    have. ``lost`` and ``doubled``: events that the windows of a region lack or have too many in the
    end, after all of these records came back."""

    began_ms: int
    events: int
    rto_s: float
    failover_s: float
    rpo_s: float
    unmirrored: tuple[Unmirrored, ...]
    failback_s: float
    accepted: dict[str, int]
    """events by the region that took them"""
    lost: dict[str, int]
    doubled: dict[str, int]

    @property
    def faults(self) -> list[str]:
        """Why it is not a good drill, [] of a good one."""
        found = [
            f"{count} events {what} in {region}"
            for what, counts in (("lost", self.lost), ("doubled", self.doubled))
            for region, count in counts.items()
            if count
        ]
        if self.rto_s > RTO_AIM_S:
            found.append(f"RTO {self.rto_s:.0f} s is above {RTO_AIM_S:g} s")
        if self.rpo_s > RPO_AIM_S:
            found.append(f"RPO {self.rpo_s:.0f} s is above {RPO_AIM_S:g} s")
        return found


class RegionDrill:
    """``first`` is lost, ``second`` takes over. Their topics and tables are there and empty.
    ``events`` are posted at ``rate_per_s``, and `SMALL` before and after them. The mirror stops
    before the loss, so that at least ``untaken`` of them are not in the second region."""

    def __init__(
        self,
        first: LocalRegion,
        second: LocalRegion,
        clock: Clock,
        say: Callable[[str], None],
        *,
        events: int,
        rate_per_s: int,
        untaken: int,
        seed: int,
    ) -> None:
        self._first = first
        self._second = second
        self._clock = clock
        self._say = say
        self._events = events
        self._rate_per_s = rate_per_s
        self._untaken = untaken
        self._clients = GlobalAddress((first, second), clock)
        total = events + 2 * SMALL
        start_ms = clock.now_ms() - PAST_MS - round(total * STEP_MS)
        # Dead letters are each region's own, and have no part in this.
        shape = Workload(start_ms=start_ms, seed=seed, tenants=200, poison=0.0, future=0.0)
        self._generator = Generator(shape)
        self._feeding: asyncio.Task[None] | None = None

    async def run(self) -> RegionDrillResult:
        """Both regions run in the end. Raises `CommandError` when a step fails or does not end."""
        try:
            return await self._run()
        finally:
            if self._feeding is not None:
                self._feeding.cancel()
                await asyncio.gather(self._feeding, return_exceptions=True)
            await self._clients.close()

    async def _run(self) -> RegionDrillResult:
        began_ms = self._clock.now_ms()
        await self._serve_from_first()
        lost_ms, lost_s = self._clock.now_ms(), self._clock.monotonic()
        await asyncio.to_thread(self._first.lose)
        self._say(f"{self._first.name} is lost, with {self._events:,} events on their way")
        over = await self._switch(self._second, "failover", "--without-old")
        await self._fed()
        if self._second.name not in self._clients.first_s:
            raise CommandError(
                f"{self._second.name} took no event: the load ended before it was active. Use more "
                "events."
            )
        await self._first.restart_services()
        missing = await self._missing(over)
        await self._first.start()
        self._second.restart_mirror()
        back = await self._switch(self._first, "failback")
        await self._serve_from_first_again()
        lost, doubled = await self._compared()
        return RegionDrillResult(
            began_ms=began_ms,
            events=self._generator.oracle.produced,
            rto_s=self._clients.first_s[self._second.name] - lost_s,
            failover_s=over.total_s,
            rpo_s=oldest_s(missing, lost_ms),
            unmirrored=missing,
            failback_s=back.total_s,
            accepted=dict(self._clients.accepted),
            lost=lost,
            doubled=doubled,
        )

    async def _serve_from_first(self) -> None:
        """Return at load, when the mirror works: `LOSE_AT` of the events are read in both regions."""
        await self._first.command("region", "init", "--active", self._first.name)
        for region in self._regions:
            self._say(f"starting {region.name}")
            await region.start()
        self._feed(SMALL)
        await self._fed()
        await self._read_by_second(SMALL)
        self._feed(self._events)
        await self._read_by_second(SMALL + round(LOSE_AT * self._events))
        if self._untaken:
            await self._fall_behind()

    async def _fall_behind(self) -> None:
        async def accepted() -> bool:
            return self._clients.accepted[self._first.name] >= wanted

        await self._second.stop_mirror()
        wanted = self._clients.accepted[self._first.name] + self._untaken
        await self._until(f"{self._untaken} events that the mirror does not take", accepted)

    async def _serve_from_first_again(self) -> None:
        before = self._clients.accepted[self._second.name]
        self._feed(SMALL)
        await self._fed()
        if self._clients.accepted[self._second.name] != before:
            raise CommandError(f"{self._second.name} still takes events after the failback.")

    @property
    def _regions(self) -> tuple[LocalRegion, LocalRegion]:
        return self._first, self._second

    async def _switch(self, to: LocalRegion, word: str, *options: str) -> _Switched:
        """By a command in the second region, which is the one that answers."""
        self._say(f"dia region {word} --to {to.name} {' '.join(options)}".rstrip())
        command = ("region", word, "--to", to.name, *options, "--yes", "--json")
        found = msgspec.json.decode(await self._second.command(*command), type=_Switched)
        if found.active != to.name:
            raise CommandError(f"{found.active} is active after the {word} to {to.name}.")
        self._say(f"{to.name} is active after {found.total_s:.0f} s")
        return found

    async def _missing(self, over: _Switched) -> tuple[Unmirrored, ...]:
        """What the failover named, with its end and its times, from the log of the lost region as it
        was at the loss: its edge does not run yet."""
        first = {TopicPartition(one.topic, one.partition): one.first for one in over.unmirrored}
        async with opened(self._first.broker.reader()) as reader:
            return tuple(await unmirrored(reader, self._first.name, list(first), first))

    def _feed(self, events: int) -> None:
        self._feeding = asyncio.create_task(self._produce(events))

    async def _produce(self, events: int) -> None:
        feed = RecordFeed(
            self._clients, MODEL_METRICS.name, self._clock, rate_per_s=self._rate_per_s
        )
        for block in self._generator.blocks(events, max(1, self._rate_per_s // BLOCKS_PER_S)):
            await feed.send(*block)
        await feed.drain()

    async def _fed(self) -> None:
        if self._feeding is not None:
            await self._feeding

    async def _read_by_second(self, events: int) -> None:
        async def read() -> bool:
            if self._feeding is not None and self._feeding.done():
                self._feeding.result()
            return (await reading.balance())["read"] >= events

        reading = await self._reading(self._second)
        try:
            await self._until(f"{self._second.name} reads {events} mirrored events", read)
        finally:
            await reading.close()

    async def _compared(self) -> tuple[dict[str, int], dict[str, int]]:
        """Lost and doubled events of each region, once the mirrors and workers came to their ends."""
        await self._until("the mirrors have copied everything", self._mirrored)
        lost, doubled = {}, {}
        for region in self._regions:
            reading = await self._reading(region)
            try:
                await self._until(f"{region.name} read everything", partial(_all_read, reading))
                await self._clock.sleep(STATUS_S)
                await region.settled()
                found = await reading.everything()
            finally:
                await reading.close()
            truth = self._generator.oracle.truth()
            lost[region.name], doubled[region.name] = balance(truth, found.windows)
        return lost, doubled

    async def _mirrored(self) -> bool:
        first, second = self._regions
        return not (
            await missing_of(first.broker, second.broker, app.topology, first.name)
            or await missing_of(second.broker, first.broker, app.topology, second.name)
        )

    async def _reading(self, region: LocalRegion) -> TopicReading:
        return await TopicReading.open(region.settings, region.broker, MODEL_METRICS)

    async def _until(self, what: str, holds: Callable[[], Awaitable[bool]]) -> None:
        deadline = Deadline(self._clock, WAIT_S)
        while not await holds():
            for region in self._regions:
                region.check()
            if deadline.left_s <= 0:
                raise CommandError(f"not within {WAIT_S:g} s: {what}.")
            await self._clock.sleep(POLL_S)


async def _all_read(reading: TopicReading) -> bool:
    return not await reading.unread()
