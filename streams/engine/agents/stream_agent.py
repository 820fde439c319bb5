"""Stream agents: a coroutine that handles one event at a time and may wait.

    async def count(stream: Stream) -> None:
        async for order in stream:
            totals[order.account] += order.amount

    COUNT = StreamAgent(name="count", source=ORDERS, group="acme-group", body=count,
                        declared=(totals,))

The engine calls ``body`` once for each assigned partition (docs/protocols/stream_agents.md). What a
body yields goes to ``sinks``, as a part of the event.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NoReturn, Protocol, TypeAlias

from streams.core.topics.current_stream import HeadersLike, Key
from streams.core.topics.topic import Topic
from streams.core.words.absent_words import AGENT_WORDS, absent_of_agent, agent_words_of
from streams.engine.state.keyed import KeyedTable
from streams.engine.state.table import TableSpec
from streams.engine.streams.body_tables import tables_named_in
from streams.engine.streams.global_table import GlobalTable
from streams.engine.streams.stream import Regrouping, Stream

Body: TypeAlias = Callable[[Stream], Any]
"""A coroutine function, or an async generator function."""
Sink: TypeAlias = Callable[[Any], Awaitable[None] | None]
"""Takes what a body yields. Its sends are part of the event; other effects are repeated with the
event."""


class Declared(Protocol):
    """A declared table, as the engine needs it."""

    @property
    def name(self) -> str: ...

    @property
    def spec(self) -> TableSpec[KeyedTable]: ...

    def empty(self) -> KeyedTable: ...


@dataclass(frozen=True, kw_only=True)
class StreamAgent:
    """A declared stream agent. ``declared`` are its tables, which no other agent uses; None: those
    that its code names (streams/engine/streams/body_tables.py)."""

    name: str
    source: Topic
    group: str
    body: Body
    declared: tuple[Declared, ...] | None = None
    sinks: tuple[Sink, ...] = ()
    regrouping: Regrouping | None = None
    """of a body with `Stream.group_by`"""
    entry: Topic | None = None
    """topic for `send`, if not ``source``"""

    @cached_property
    def owned(self) -> tuple[Declared, ...]:
        """Its tables, found at the first access: code may name tables that are declared later."""
        return tuple(
            table
            for table in self._named
            if not isinstance(table, GlobalTable) or table.claimed_by(self)
        )

    def check(self) -> None:
        """Raises `UnsupportedByDia` for a body that asks an agent for an answer. Names of agents
        that are declared below it are known once the app is complete."""
        for value, word in agent_words_of(self.body):
            if isinstance(value, StreamAgent):
                raise absent_of_agent(value.name, word)

    @property
    def global_tables(self) -> tuple[GlobalTable, ...]:
        return tuple(table for table in self._named if isinstance(table, GlobalTable))

    @cached_property
    def _named(self) -> tuple[Declared, ...]:
        return tables_named_in(self.body) if self.declared is None else self.declared

    @property
    def tables(self) -> tuple[TableSpec[Any], ...]:
        return tuple(table.spec for table in self.owned)

    async def send(
        self,
        *,
        key: Key = None,
        value: Any = None,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: HeadersLike = None,
    ) -> None:
        """Send ``value`` to the agent's topic, as a part of the event in progress."""
        await (self.entry or self.source).send(
            key=key, value=value, partition=partition, timestamp=timestamp, headers=headers
        )

    async def cast(self, value: Any = None, *, key: Key = None, **options: Any) -> None:
        """Faust's other name of `send`."""
        await self.send(key=key, value=value, **options)

    def __getattr__(self, name: str) -> NoReturn:
        if name in AGENT_WORDS:
            raise absent_of_agent(self.name, name)
        raise AttributeError(name)

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Call the body with a test's own stream."""
        return self.body(*args, **options)
