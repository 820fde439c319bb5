"""How an agent is written that handles one event at a time, and may wait in its middle.

    async def count(stream: Stream) -> None:
        async for order in stream:
            totals[order.account] += order.amount

    COUNT = StreamAgent(name="count", source=ORDERS, group="acme-group", body=count,
                        declared=(totals,))

The engine calls ``body`` once for each partition it is assigned (streams/runtime/stream_partition.py
has the protocol). A body with ``yield`` sends what it yields to ``sinks``, as a part of the event.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from streams.stream import Stream
from streams.topic import Topic
from tables.keyed import KeyedTable
from tables.table import TableSpec

Body: TypeAlias = Callable[[Stream], Any]
"""A coroutine function, or an async generator function."""
Sink: TypeAlias = Callable[[Any], Awaitable[None] | None]
"""Takes what a body yields. What it sends is part of the event; its other effects are not: they are
repeated when the event is."""


class Declared(Protocol):
    """A declared table, as the engine needs it."""

    @property
    def name(self) -> str: ...

    @property
    def spec(self) -> TableSpec[KeyedTable]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamAgent:
    """A declared agent of one event at a time. ``declared`` are the tables that it alone writes."""

    name: str
    source: Topic
    group: str
    body: Body
    declared: tuple[Declared, ...] = ()
    sinks: tuple[Sink, ...] = ()

    @property
    def tables(self) -> tuple[TableSpec[Any], ...]:
        return tuple(table.spec for table in self.declared)
