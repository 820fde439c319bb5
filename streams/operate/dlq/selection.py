"""The letters that filters choose, out of those that lie between frozen bounds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable

from streams.core.topics.topology import Topology
from streams.core.types import LogReader
from streams.operate.dlq.filters import Filters
from streams.operate.dlq.letter import Letter
from streams.operate.dlq.scan import Span, scan


async def select(
    reader: LogReader,
    spans: Iterable[Span],
    filters: Filters,
    topology: Topology,
    read: Callable[[int], None] = lambda letters: None,
) -> AsyncIterator[list[Letter]]:
    """Lists of letters that match, none empty, at most ``filters.limit`` letters in all.

    ``read`` is told how many letters were looked at. Raises as `scan`.
    """
    left = filters.limit
    async for page in scan(reader, filters.narrow(spans), topology):
        read(len(page))
        found = filters.select(page)
        if left is not None:
            found = found[:left]
            left -= len(found)
        if found:
            yield found
        if left == 0:
            return
