"""The stream that an agent iterates: the events of one partition, in log order.

    async for order in stream: ...
    async for batch in stream.take(100, within=1.0): ...

An event (or a list of `take`) is complete when the agent asks for the next one. Asking does not
suspend while events are buffered. After an error or a timeout the engine calls the agent with a new
`Stream`, and the old one only raises.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple, NoReturn, Protocol

from streams.core.errors import Pending, UnsupportedByDia
from streams.core.records.headers import REPLAY_APPEND_TS, last
from streams.core.rows.targets import RowTarget, RowValues
from streams.core.settings import Settings
from streams.core.topics.current_stream import HeadersLike, Key, NoTables, Target
from streams.core.topics.topic import Topic
from streams.core.types import Headers, OutboundRecord, RecordBatch, TopicPartition
from streams.core.words.absent_words import absent
from streams.engine.streams.sending import key_text, made_here, outgoing
from streams.engine.streams.topic_sizes import TopicSizes

Filter = Callable[[Any], Any]


class Message(NamedTuple):
    """A record of the log. ``timestamp`` is its append time in seconds."""

    topic: str
    partition: int
    offset: int
    timestamp: float
    key: bytes | None
    value: bytes | None
    headers: Headers


class Event(NamedTuple):
    """One event with its record. ``key`` is text if the bytes are UTF-8. ``event_ms`` is the event
    time (the append time without a time field)."""

    key: Any
    value: Any
    message: Message
    event_ms: int

    @property
    def headers(self) -> dict[str, bytes]:
        """By name; of a repeated name the last one."""
        return dict(self.message.headers)


class PartitionFeed(Protocol):
    """The partition that a stream reads. ``items[at:until]`` may be given without asking `more`;
    ``given`` rows from ``at`` on are in progress."""

    items: Sequence[Any]
    at: int
    until: int
    given: int

    sizes: TopicSizes

    @property
    def tp(self) -> TopicPartition: ...

    @property
    def settings(self) -> Settings: ...

    def complete(self, stream: Stream) -> None:
        """Complete what was given. Raises CancelledError if ``stream`` is not the current one, and
        `ValueRefused` for a table value that cannot be written, which ends the stream."""
        ...

    async def over(self) -> NoReturn:
        """Raise CancelledError after a pause: a body that catches it and asks again must not block
        the loop."""
        ...

    async def more(self, stream: Stream) -> None:
        """Wait until ``at < until``."""
        ...

    async def gather(self, stream: Stream, count: int, within_s: float | None) -> list[int]:
        """Wait for ``count`` events, at most ``within_s`` seconds from the first one; their rows
        for `row`."""
        ...

    def row(self, ahead: int) -> tuple[RecordBatch, int, Any, int]:
        """The record ``ahead`` rows behind ``at``: its batch, its index there, its event, and the
        event time in milliseconds."""
        ...

    def emit(self, record: OutboundRecord) -> None: ...

    def fact(self, target: str | RowTarget, row: RowValues, *, name: str | None = None) -> None: ...


class Regrouping(NamedTuple):
    """The topic with events under another key, and whether this stream sends to it or reads from
    it."""

    topic: Topic
    sends: bool


class Stream:
    """``tables``: the partition's instances, by name."""

    def __init__(
        self, feed: PartitionFeed, tables: Mapping[str, Any], regrouping: Regrouping | None = None
    ) -> None:
        self.tables = tables
        self._regrouping = regrouping
        self.asked = False
        """whether the agent has asked for an event"""
        self.failed: Exception | None = None
        """why the event could not be completed: it failed, also if the body catches the error"""
        self.partition = feed.tp.partition
        self._region = feed.settings.region
        self._feed = feed
        self._filters: list[Filter] = []

    def end(self) -> None:
        """End the stream: code that still uses it has no effect."""
        self.tables = NoTables("its event ended: it was cancelled, or failed.")

    @property
    def ended(self) -> bool:
        return isinstance(self.tables, NoTables)

    # --- iterating ---------------------------------------------------------------------------

    async def _begin(self) -> None:
        """Called once for each iteration: a finished stream raises after a pause."""
        self.asked = True
        if self.failed is not None or self.ended:
            await self._feed.over()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._values() if not self._filters else self._filtered(_value)

    async def _values(self) -> AsyncIterator[Any]:
        await self._begin()
        feed = self._feed
        while True:
            if feed.given:
                feed.complete(self)
            at = feed.at
            if at >= feed.until:
                await feed.more(self)
                at = feed.at
            feed.given = 1
            yield feed.items[at]

    async def _filtered(self, shape: Callable[[Event], Any]) -> AsyncIterator[Any]:
        await self._begin()
        feed = self._feed
        while True:
            if feed.given:
                feed.complete(self)
            if feed.at >= feed.until:
                await feed.more(self)
            feed.given = 1
            event = self._event(0)
            if await self._passes(event.value):
                yield shape(event)

    async def _passes(self, value: Any) -> bool:
        for wanted in self._filters:
            passes = wanted(value)
            if inspect.isawaitable(passes):
                passes = await passes
            if not passes:
                return False
        return True

    def events(self) -> AsyncIterator[Event]:
        """The events with their records."""
        return self._filtered(_itself)

    def items(self) -> AsyncIterator[tuple[Any, Any]]:
        """Key and value of each event."""
        return self._filtered(_item)

    async def enumerate(self, start: int = 0) -> AsyncIterator[tuple[int, Any]]:
        """A running number in this stream, and the value."""
        number = start
        async for value in self:
            yield number, value
            number += 1

    async def take(self, max_: int, within: float | None = None) -> AsyncIterator[list[Any]]:
        """Lists of up to ``max_`` values: fewer after ``within`` seconds from the first one, or if
        the partition can hold no more. They complete together.

        If the agent raises on a list, its events are given again one by one, so that only the
        failing one is refused.
        """
        async for events in self.take_events(max_, within):
            yield [event.value for event in events]

    async def take_events(
        self, max_: int, within: float | None = None
    ) -> AsyncIterator[list[Event]]:
        """As `take`, with the records."""
        await self._begin()
        feed = self._feed
        while True:
            if feed.given:
                feed.complete(self)
            rows = await feed.gather(self, max_, within)
            events = [self._event(row) for row in rows]
            if self._filters:
                events = [event for event in events if await self._passes(event.value)]
            if events:
                yield events

    def filter(self, wanted: Filter) -> Stream:
        """Complete events for which ``wanted(value)`` is false without giving them. Returns the
        stream."""
        self._filters.append(wanted)
        return self

    def group_by(self, key: Any, *, name: str | None = None) -> AsyncIterator[Any]:
        """The events under another key: a function of the value, or the name of a field. All events
        of a key are in one partition of the agent's own topic (`App.agent` declares it).

        The body runs at both ends: at the source this sends each event on, in its transaction, and
        gives none; at the other end it gives them.
        """
        regrouping = self._regrouping
        if regrouping is None:
            raise UnsupportedByDia(
                "call stream.group_by() in the body of the agent itself, where @app.agent finds "
                "it, not in a function that the body calls."
            )
        if not regrouping.sends:
            return self.__aiter__()
        return self._regrouped(regrouping.topic, _key_of(key))

    async def _regrouped(self, topic: Topic, key_of: Callable[[Any], Any]) -> AsyncIterator[Any]:
        # Without a time of its own a copy is as new as its append: by the first one, the windows of an event
        # that waited would be closed by those of other partitions.
        headers_of = first_appended if topic.time_field else attrgetter("headers")
        async for event in self.events():
            key, message = key_of(event.value), event.message
            raw = key if isinstance(key, bytes) else str(key)
            self.send(topic, raw, message.value, headers=headers_of(message))
        yield None  # never runs: makes this a generator, as the other end is

    @property
    def current_event(self) -> Event | None:
        """The event in progress; None between events, and during a list of `take`."""
        return self._event(0) if self._feed.given == 1 else None

    @property
    def current_event_ms(self) -> int | None:
        """The event time of `current_event`."""
        return self._feed.row(0)[3] if self._feed.given == 1 else None

    def _event(self, ahead: int) -> Event:
        batch, row, value, event_ms = self._feed.row(ahead)
        key = batch.keys[row]
        message = Message(
            *batch.tp,
            batch.offsets[row],
            batch.timestamps[row] / 1000,
            key,
            batch.values[row],
            batch.headers[row],
        )
        return Event(key_text(key), value, message, event_ms)

    # --- what belongs to the event in progress -----------------------------------------------

    def send(
        self,
        topic: Target,
        key: Key = None,
        value: Any = None,
        *,
        partition: int | None = None,
        timestamp_s: float | None = None,
        headers: HeadersLike = None,
    ) -> None:
        """Send ``value`` to ``topic`` in the transaction of the event in progress
        (streams/engine/streams/sending.py)."""
        feed = self._feed
        try:
            record = outgoing(
                topic,
                key,
                value,
                partitions=feed.sizes.of(topic),
                without_key=self.partition,
                partition=partition,
                timestamp_s=timestamp_s,
                headers=made_here(headers, self._region) if self._region else headers,
            )
        except Pending as pending:
            self.failed = pending
            raise
        self._check_alive()
        feed.emit(record)

    def fact(self, target: str | RowTarget, row: RowValues, *, name: str | None = None) -> None:
        """Owe a ClickHouse table or a sink a row, as `streams.engine.agents.agent.Scope.fact`."""
        self._check_alive()
        self._feed.fact(target, row, name=name)

    def _check_alive(self) -> None:
        if self.ended:
            raise asyncio.CancelledError("this stream has ended: its agent was called again")

    # --- Faust's words that dia does not have ------------------------------------------------

    def noack_take(self, *args: Any, **options: Any) -> NoReturn:
        raise absent("noack_take")

    def join(self, *args: Any, **options: Any) -> NoReturn:
        raise absent("join")

    def combine(self, *args: Any, **options: Any) -> NoReturn:
        raise absent("combine")

    def through(self, *args: Any, **options: Any) -> NoReturn:
        raise absent("through")

    def echo(self, *args: Any, **options: Any) -> NoReturn:
        raise absent("echo")


def first_appended(message: Message) -> Headers:
    """The headers of ``message`` with its first append time: how long it waited for the agent makes its copy
    no older."""
    if last(message.headers, REPLAY_APPEND_TS) is not None:
        return message.headers
    append_ms = round(message.timestamp * 1000)
    return (*message.headers, (REPLAY_APPEND_TS, b"%d" % append_ms))


def _key_of(key: Any) -> Callable[[Any], Any]:
    """From a function, a field's name, or a field of a faust.Record."""
    name = key if isinstance(key, str) else getattr(key, "field", None)
    if isinstance(name, str):
        return lambda value: value[name] if isinstance(value, dict) else getattr(value, name)
    if callable(key):
        return key  # type: ignore[no-any-return] # whatever it is, its result is the key
    raise UnsupportedByDia(f"stream.group_by({key!r}): give a function or the name of a field.")


def _value(event: Event) -> Any:
    return event.value


def _itself(event: Event) -> Event:
    return event


def _item(event: Event) -> tuple[Any, Any]:
    return event.key, event.value
