"""Reads every signal of a process once a second."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from streams.core.clock import Clock
from streams.core.degradation.degradation import Degradation
from streams.core.degradation.level import Reading

INTERVAL_S = 1.0

Read = Callable[[], Reading]
Ask = Callable[[], Awaitable[None]]


class HealthWatch:
    """``reads`` by name of the signal. ``asks`` run in parallel until cancelled: they send requests
    where no other call would detect an outage."""

    def __init__(
        self,
        degradation: Degradation,
        clock: Clock,
        reads: Mapping[str, Read],
        asks: Sequence[Ask] = (),
    ) -> None:
        self._degradation = degradation
        self._clock = clock
        self._reads = dict(reads)
        self._asks = list(asks)
        """those that do not run yet"""

    def add(self, name: str, read: Read, ask: Ask) -> None:
        """One more signal, from the next look on."""
        self._reads[name] = read
        self._asks.append(ask)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            while True:
                while self._asks:
                    tasks.create_task(_asking(self._asks.pop(0)), name="health-ask")
                self.look()
                await self._clock.sleep(INTERVAL_S)

    def look(self) -> None:
        for name, read in self._reads.items():
            self._degradation.observe(name, read())


async def _asking(ask: Ask) -> None:
    await ask()
