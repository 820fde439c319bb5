"""The active region as an edge or a console last read it. It asks every region's journal each two
seconds, and serves only on the word."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

import structlog

from streams.core.clock import Clock
from streams.core.errors import DiaError
from streams.core.resilience.deadline import Deadline, DeadlinePassed
from streams.core.types import Broker, LogReader
from streams.operate.regions.word import RegionWord, journal_of, newest_of, newest_word

LOOK_S = 2.0
ASK_TIMEOUT_S = 4.0
"""below the shortest lease, so that one slow answer does not end it"""

NOT_ACTIVE = "region_not_active"
UNKNOWN = "region_unknown"

log = structlog.get_logger(__name__)


class RegionStanding(NamedTuple):
    """``code`` is "" while this region is active. ``active`` and ``epoch`` are those of the newest
    word known; "" and 0 without one."""

    region: str
    active: str
    epoch: int
    code: str
    why: str

    @property
    def serves(self) -> bool:
        return not self.code


class SeenRegion(NamedTuple):
    """``word`` None: none is known. ``age_s``: seconds since its last answered question was asked;
    None before the first."""

    name: str
    word: RegionWord | None
    age_s: float | None


class RegionWatch:
    """The words of all regions, as last read."""

    def __init__(
        self, own: str, brokers: Mapping[str, Broker], app: str, clock: Clock, lease_s: float
    ) -> None:
        self._own = own
        self._brokers = brokers
        self._journal = journal_of(app)
        self._clock = clock
        self._lease_s = lease_s
        self._words: dict[str, RegionWord] = {}
        self._read_at: dict[str, float] = {}
        """by region, when its last answered question was asked, monotonic seconds"""
        self._asked: set[str] = set()
        """regions whose first question has an answer or has failed"""
        self._readers: dict[str, LogReader] = {}
        self._said = ""

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                await self.look()
                await self._clock.sleep(LOOK_S)
        finally:
            for region in [*self._readers]:
                await self._forget(region)

    async def look(self) -> None:
        """Ask every region once."""
        await asyncio.gather(*(self._ask(region) for region in self._brokers))
        standing = self.standing()
        if standing.why != self._said:
            self._said = standing.why
            log.info(
                "region_standing",
                region=self._own,
                active=standing.active,
                epoch=standing.epoch,
                serves=standing.serves,
                why=standing.why,
            )

    async def _ask(self, region: str) -> None:
        began = self._clock.monotonic()
        try:
            word = await Deadline(self._clock, ASK_TIMEOUT_S).wait(self._word_of(region))
        except (DiaError, DeadlinePassed, ValueError):
            await self._forget(region)
        else:
            self._read_at[region] = began
            if word is not None:
                self._words[region] = word
        self._asked.add(region)

    async def _word_of(self, region: str) -> RegionWord | None:
        if region not in self._readers:
            self._readers[region] = await self._brokers[region].reader()
        return await newest_word(self._readers[region], self._journal, self._clock)

    async def _forget(self, region: str) -> None:
        """The next question takes a new connection."""
        reader = self._readers.pop(region, None)
        if reader is not None:
            await reader.close()

    def seen(self) -> list[SeenRegion]:
        """Every region, as last read."""
        now = self._clock.monotonic()
        return [
            SeenRegion(name, self._words.get(name), None if at is None else now - at)
            for name in self._brokers
            for at in (self._read_at.get(name),)
        ]

    def standing(self) -> RegionStanding:
        """At this moment. A question that is answered late counts from when it was asked."""
        newest = newest_of(self._words.values())
        active, epoch = (newest.active, newest.epoch) if newest is not None else ("", 0)
        code, why = self._judged(newest)
        return RegionStanding(self._own, active, epoch, code, why)

    def _judged(self, newest: RegionWord | None) -> tuple[str, str]:
        own, read_at = self._words.get(self._own), self._read_at.get(self._own)
        if read_at is None or self._clock.monotonic() - read_at >= self._lease_s:
            return UNKNOWN, f"the journal of {self._own} was not read for {self._lease_s:g} s"
        if self._asked != self._brokers.keys():
            return UNKNOWN, "not every region was asked yet"
        if newest is None:
            return NOT_ACTIVE, "no region was ever made active: `dia region init` does"
        if newest.active != self._own:
            return NOT_ACTIVE, f"{newest.active} is active in epoch {newest.epoch}"
        if own is None or own.rank < newest.rank:
            return NOT_ACTIVE, f"the change to {self._own} in epoch {newest.epoch} goes on"
        return "", ""
