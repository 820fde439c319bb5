"""Many ask, one works: concurrent calls for a name share the outcome of the first.

The name of a flight may hold more than a name: whoever must not get what was begun before a
certain moment asks under another one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """The work is a task of its own: a caller that is cancelled takes it from nobody else."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, asyncio.Task[T]] = {}

    async def run(self, name: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        """The outcome of ``work``, or of the one already under way for ``name``."""
        flight = self._flights.get(name)
        if flight is None:
            flight = self._flights[name] = asyncio.create_task(self._fly(name, work))
            # Where every caller was cancelled, nobody else looks at its error.
            flight.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(flight)

    async def _fly(self, name: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        try:
            return await work()
        finally:
            del self._flights[name]

    async def close(self) -> None:
        """Cancel what is under way."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)
