"""Single flight: concurrent calls for a name share the result of the first. A caller that needs a
newer result uses another name."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from streams.core.resilience.unread_error import read_error

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """The work is its own task: cancelling one caller does not cancel the others."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, asyncio.Task[T]] = {}

    async def run(self, name: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        """Of ``work``, or of the call in progress for ``name``."""
        flight = self._flights.get(name)
        if flight is None:
            flight = self._flights[name] = asyncio.create_task(self._fly(name, work))
            # Marks the error as retrieved when every caller was cancelled.
            flight.add_done_callback(read_error)
        return await asyncio.shield(flight)

    async def _fly(self, name: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        try:
            return await work()
        finally:
            del self._flights[name]

    async def close(self) -> None:
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)
