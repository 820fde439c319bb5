"""Messages of a topic over HTTP: the newest, one in full, one sent again, and live."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from streams.connect.access.fair_semaphore import FairSemaphore
from streams.connect.access.refusals import SourceUnavailable, UnknownResource
from streams.connect.access.request_rate import RequestRate
from streams.connect.access.tokens import Role
from streams.core.clock import Clock
from streams.core.errors import RefusedBySafety, UnknownTopic
from streams.core.settings import Settings
from streams.core.topics.topology import Topology
from streams.core.types import Broker
from streams.engine.agents.job_agent import Agent
from streams.http.console import parameters, reply
from streams.http.console.access.authorizer import Authorizer, Principal
from streams.http.console.access.operations import Operations
from streams.http.console.logs import Logs
from streams.http.console.parameters import Parameters
from streams.http.console.payload import SHOWN_BYTES, decoded, hexadecimal, named_bytes
from streams.http.console.topics.message_query import (
    PLACE_CHARS_MAX,
    MessageQuery,
    message_query,
    place_parts,
    require_readable,
)
from streams.operate.messages.log_bound import LogBound
from streams.operate.messages.message import TopicMessage
from streams.operate.messages.message_filter import MessageFilter
from streams.operate.messages.message_tail import MessageTail
from streams.operate.messages.sending_again import outlook, send_again
from streams.operate.trace.log_scan import SearchedRange

LISTED: Final = 50
LISTED_MAX: Final = 500
READ_S: Final = 10.0
"""Longest look for the newest messages; the answer then says that it ended early."""
READINGS: Final = 4
"""Concurrent readings of all owners; one of each. Live streams have as many of their own."""
COPIES_MAX: Final = 60
"""Messages that one owner sends again within a minute."""
PREVIEW_CHARS: Final = 400
PREVIEWED_BYTES: Final = 16 << 10
"""A larger value is previewed as the text of its bytes."""
REASON_MAX: Final = 300
_WAIT_S: Final = 5.0
_ANSWER_S: Final = 15.0


class _Again(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of POST /api/message/again."""

    place: str
    reason: str


@dataclass(eq=False)
class MessageHandler:
    """/api/messages and /api/message. ``_agents``: by source topic."""

    _gate: Authorizer
    _topology: Topology
    _agents: Mapping[str, Agent]
    _settings: Settings
    _broker: Broker
    _logs: Logs
    _operations: Operations
    _clock: Clock

    def __post_init__(self) -> None:
        def turns(what: str) -> FairSemaphore:
            return FairSemaphore(what, places=READINGS, owner_max=1, wait_s=_WAIT_S)

        self._turns, self._live_turns = turns("readings of messages"), turns("live messages")
        self._sends = turns("messages that are sent again")
        self._copies = RequestRate(self._clock, limit=COPIES_MAX, period_s=60.0)

    async def listed(self, request: Request) -> Response:
        """GET /api/messages: the newest that the filters select, newest first."""
        holder, given = self._gate.holder(request, Role.READ), Parameters(request)
        asked = self.query(holder, given)
        limit = given.number("limit", LISTED, 1, LISTED_MAX)
        async with self._bounded(holder, self._turns), self._logs.reader() as reader:
            reading = asked.reading(self._topology, self._settings, self._clock, reader)
            ranges = await reading.ranges(await self._logs.topics())
            deadline_s = self._clock.monotonic() + READ_S
            found = await reading.newest(ranges, limit, deadline_s)
        return reply.json(
            request,
            {
                "as_of_ms": self._clock.now_ms(),
                "messages": [_line(one) for one in found],
                "late": reading.late,
                "more": len(found) == limit,
                "searched": [_searched(one) for one in ranges],
            },
        )

    async def one(self, request: Request) -> Response:
        """GET /api/message: one message in full."""
        holder, given = self._gate.holder(request, Role.READ), Parameters(request)
        message = await self._message(holder, given.text("place", PLACE_CHARS_MAX) or "")
        told = outlook(message, self._topology, self._agents, self._settings.dedupe_ttl_s)
        return reply.json(request, {**_sheet(message), "again": told._asdict()})

    async def again(self, request: Request) -> Response:
        """POST /api/message/again: append a copy. Raises `RefusedBySafety` for a message that
        cannot be sent again, and `RateLimited` above `COPIES_MAX`: copies pass no edge's quotas."""
        holder = self._gate.holder(request, Role.OPERATE)
        asked = await parameters.body(request, _Again)
        reason = asked.reason.strip()
        if not 1 <= len(reason) <= REASON_MAX:
            raise RefusedBySafety(f"give a reason of 1 to {REASON_MAX} characters")
        message = await self._message(holder, asked.place)
        told = outlook(message, self._topology, self._agents, self._settings.dedupe_ttl_s)
        if not told.allowed:
            raise RefusedBySafety(told.text)
        subject = {"place": asked.place, "tenant": message.tenant, "reason": reason}
        self._copies.take(holder.owner)
        async with (
            self._sends.taken(holder.owner),
            self._operations.noted(holder, "message_again", subject),
        ):
            tp = await send_again(self._broker, message, self._topology)
        told_fields = {"topic": tp.topic, "partition": tp.partition, "text": told.text}
        return reply.json(request, told_fields, 202)

    def query(self, holder: Principal, given: Parameters) -> MessageQuery:
        """Raises as `message_query`."""
        return message_query(holder, given, self._topology, self._clock.now_ms() / 1000)

    def tail(self, holder: Principal, asked: MessageQuery) -> Callable[[], Any]:
        """Each call reads on and gives the newest messages as JSON, at most `SHOWN_MAX`."""
        tail = MessageTail(
            lambda reader: asked.reading(self._topology, self._settings, self._clock, reader)
        )

        async def read() -> bytes:
            async with self._bounded(holder, self._live_turns), self._logs.reader() as reader:
                await tail.step(reader, await self._logs.topics())
            lines = [_line(one) for one in tail.messages()]
            return msgspec.json.encode({**tail.figures(), "messages": lines})

        return read

    async def _message(self, holder: Principal, place: str) -> TopicMessage:
        """Raises `UnknownResource`, also for a message of another tenant: its existence is not
        revealed."""
        topic, partition, offset = place_parts(place)
        require_readable(holder, topic, self._topology)
        asked = MessageQuery(
            topic,
            MessageFilter(owner=holder.token.tenant),
            LogBound(offset=offset),
            LogBound(offset=offset + 1),
            partition,
            (),
        )
        async with self._bounded(holder, self._turns), self._logs.reader() as reader:
            reading = asked.reading(self._topology, self._settings, self._clock, reader)
            ranges = await reading.ranges(await self._logs.topics())
            found = await reading.newest(ranges, 1, self._clock.monotonic() + READ_S)
        if not found:
            raise UnknownResource("there is no message at that place")
        return found[0]

    @asynccontextmanager
    async def _bounded(self, holder: Principal, turns: FairSemaphore) -> AsyncIterator[None]:
        """Raises `Overloaded`, `SourceUnavailable` and `UnknownResource`."""
        async with turns.taken(holder.owner):
            try:
                async with asyncio.timeout(_ANSWER_S):
                    yield
            except UnknownTopic as error:
                raise UnknownResource("there is no such topic or partition") from error
            except TimeoutError:
                what = "the topic was not read in time: narrow the filters, or use `dia topics`"
                raise SourceUnavailable(what, retry_after_s=_ANSWER_S) from None


def _line(one: TopicMessage) -> dict[str, Any]:
    preview = _preview(one)
    return {
        "place": f"{one.tp}/{one.offset}",
        "partition": one.tp.partition,
        "offset": one.offset,
        "at_ms": one.at_ms,
        "key": _short(one.key),
        "tenant": one.tenant,
        "code": one.code,
        "refusal": one.refusal[:PREVIEW_CHARS],
        "bytes": len(one.value or b""),
        "preview": preview[:PREVIEW_CHARS],
        "cut": len(preview) > PREVIEW_CHARS,
    }


def _preview(one: TopicMessage) -> str:
    if one.event is not None and len(one.value or b"") <= PREVIEWED_BYTES:
        return msgspec.json.encode(one.event).decode()
    return _short(one.value) or ""


def _short(raw: bytes | None) -> str | None:
    """Text, or hexadecimal behind 0x."""
    if raw is None:
        return None
    head = raw[: 4 * PREVIEW_CHARS]
    try:
        return raw.decode()[: PREVIEW_CHARS + 1]
    except UnicodeDecodeError:
        return f"0x{head.hex()}"


def _sheet(one: TopicMessage) -> dict[str, Any]:
    found = decoded(one.value)
    event = msgspec.json.encode(one.event)
    if one.event is not None and len(event) <= SHOWN_BYTES:
        found["json"] = msgspec.Raw(event)
    return {
        **_line(one),
        "topic": one.tp.topic,
        "headers": [named_bytes(name, content) for name, content in one.headers],
        **found,
        **hexadecimal(one.value),
    }


def _searched(one: SearchedRange) -> dict[str, Any]:
    return {
        "partition": one.tp.partition,
        "from": one.start,
        "to": one.end,
        "log_begin": one.log_begin,
        "log_end": one.log_end,
        "unreadable": one.unreadable,
    }
