"""Dead letters over HTTP: groups of them, a list, and one of them whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final, Literal, NamedTuple, get_args

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from streams.access.refusals import Overloaded, SourceAway, UnknownResource, Unreadable
from streams.access.tokens import Role
from streams.clock import Clock
from streams.console import reply
from streams.console.gate import Gate, Holder
from streams.console.letter_view import decoded, hexadecimal
from streams.console.parameters import Parameters
from streams.dlq.filters import Filters, belongs
from streams.dlq.letter import Letter
from streams.dlq.queues import queues
from streams.dlq.scan import Span, bounds, scan
from streams.dlq.tally import Tally
from streams.errors import PartitionStopped
from streams.replay.control import journals
from streams.replay.decided import Decided
from streams.replay.sheet import sheet_of
from streams.settings import Settings
from streams.topology import MODEL_METRICS, SOURCES, SourceTopic
from streams.types import Broker

LISTED: Final = 100
LISTED_MAX: Final = 500
SCANNED_MAX: Final = 200_000
"""Letters of one answer: more is said to be incomplete, and `dia dlq` reads it all."""
SCANS: Final = 2
_WAIT_S: Final = 5.0
_ANSWER_S: Final = 15.0
_PAGE: Final = 1000
"""Letters between two turns of the event loop."""

_By = Literal["error", "tenant", "agent", "age", "topic", "stage", "disposition"]
_BY_NAME = {source.name: source for source in SOURCES}


class Asked(NamedTuple):
    """Of which DLQ, which letters."""

    source: SourceTopic
    filters: Filters


def source_named(name: str) -> SourceTopic:
    """Raises `Unreadable` for a topic that is not declared."""
    if name not in _BY_NAME:
        raise Unreadable(f"topic is one of {', '.join(_BY_NAME)}")
    return _BY_NAME[name]


def tenants_of(holder: Holder, asked: Iterable[str]) -> tuple[str, ...]:
    """The tenants that are asked about. Raises `Forbidden` for one that is not the holder's."""
    return tuple(holder.tenant(tenant) for tenant in asked)


class LetterDesk:
    """GET /api/dlq/groups, letters, letter."""

    def __init__(self, gate: Gate, broker: Broker, settings: Settings, clock: Clock) -> None:
        self._gate = gate
        self._broker = broker
        self._settings = settings
        self._clock = clock
        self._scans = asyncio.Semaphore(SCANS)

    async def groups(self, request: Request) -> Response:
        holder, given = self._gate.holder(request, Role.READ), Parameters(request)
        asked = self._asked(holder, given)
        by = given.names("by", len(get_args(_By))) or ("error",)
        if unknown := set(by) - set(get_args(_By)):
            raise Unreadable(f"by is not {', '.join(sorted(unknown))}")
        async with self.bounded():
            found = await self._decided() if "disposition" in by else Decided({})
            more = {"disposition": lambda letter, _: found.of(letter).word or "open"}
            tally, scanned = Tally(by, self._clock.now_ms(), more), 0
            async with aclosing(self._pages(asked, _Place())) as pages:
                async for page in pages:
                    scanned += len(page)
                    tally.add(asked.filters.select(page))
                    if scanned >= SCANNED_MAX:
                        break
        return reply.json(
            request,
            {
                "by": by,
                "scanned": scanned,
                "complete": scanned < SCANNED_MAX,
                "groups": [group._asdict() for group in tally.groups()],
            },
        )

    async def listed(self, request: Request) -> Response:
        holder, given = self._gate.holder(request, Role.READ), Parameters(request)
        asked = self._asked(holder, given)
        limit = given.number("limit", LISTED, 1, LISTED_MAX)
        first = _place(given.optional("after"))
        scanned, found, onward = 0, list[Letter](), None
        async with self.bounded():
            decided = await self._decided()
            async with aclosing(self._pages(asked, first)) as pages:
                async for page in pages:
                    scanned += len(page)
                    found += asked.filters.select(page)
                    last = found[limit - 1] if len(found) > limit else page[-1]
                    if len(found) > limit or scanned >= SCANNED_MAX:
                        onward = f"{last.dlq.partition}:{last.offset + 1}"
                        break
        letters = [_line(letter, decided) for letter in found[:limit]]
        return reply.json(request, {"letters": letters, "next": onward})

    async def one(self, request: Request) -> Response:
        holder, given = self._gate.holder(request, Role.READ), Parameters(request)
        place = given.optional("place") or given.name("id")
        async with self.bounded():
            sheet = await sheet_of(self._broker, self._settings, place)
        owner = holder.token.tenant
        value = sheet.original.value if sheet is not None else None
        # Whether another tenant's letter exists is not told either.
        if sheet is None or (owner is not None and not belongs(sheet.letter, value, owner)):
            raise UnknownResource("there is no dead letter of that name")
        return reply.json(request, {**sheet.fields(), **decoded(value), **hexadecimal(value)})

    @asynccontextmanager
    async def bounded(self) -> AsyncIterator[None]:
        """Few at a time read queues, and none for long. Raises `Overloaded`, `SourceAway`."""
        try:
            async with asyncio.timeout(_WAIT_S):
                await self._scans.acquire()
        except TimeoutError:
            raise Overloaded("too many read dead letters now", retry_after_s=_WAIT_S) from None
        try:
            async with asyncio.timeout(_ANSWER_S):
                yield
        except TimeoutError:
            what = "the queue is long, and this took too long: name less of it, or use `dia dlq`"
            raise SourceAway(what, retry_after_s=_ANSWER_S) from None
        finally:
            self._scans.release()

    def _asked(self, holder: Holder, given: Parameters) -> Asked:
        now_s = self._clock.now_ms() / 1000
        filters = Filters(
            since_ms=given.maybe_moment_ms("since", now_s),
            until_ms=given.maybe_moment_ms("until", now_s),
            errors=given.names("error", 100),
            tenants=tenants_of(holder, given.names("tenant", 100)),
            owner=holder.token.tenant,
            partitions=given.numbers("partition", 1_000_000),
        )
        return Asked(source_named(given.name("topic", MODEL_METRICS.name)), filters)

    async def _pages(self, asked: Asked, first: _Place) -> AsyncGenerator[list[Letter], None]:
        """Every letter of the partitions that are meant, from ``first`` on."""
        admin, reader = await self._broker.admin(), await self._broker.reader()
        try:
            [queue] = await queues(admin, (asked.source.name,))
            spans = asked.filters.narrow(await bounds(reader, *queue))
            async for page in scan(reader, [_from(span, first) for span in spans], _PAGE):
                yield page
        finally:
            await reader.close()
            await admin.close()

    async def _decided(self) -> Decided:
        """Nothing where a journal cannot be read: `dia doctor` says why."""
        try:
            return Decided(await journals(self._broker))
        except PartitionStopped:
            return Decided({})


def _line(letter: Letter, decided: Decided) -> dict[str, Any]:
    pointer = letter.pointer
    return {
        "id": letter.id,
        "place": f"{letter.dlq}/{letter.offset}",
        **{
            name: getattr(letter, name)
            for name in ("error_code", "error_message", "stage", "agent", "tenant", "hops")
        },
        "bytes": pointer.value_bytes if pointer is not None else len(letter.value or b""),
        "failed_ms": letter.failed_ms,
        "disposition": decided.of(letter).word or "open",
    }


class _Place(msgspec.Struct, frozen=True):
    partition: int = 0
    offset: int = 0


def _place(text: str | None) -> _Place:
    if text is None:
        return _Place()
    partition, _, offset = text.partition(":")
    if not (partition.isascii() and partition.isdigit() and offset.isascii() and offset.isdigit()):
        raise Unreadable("after is PARTITION:OFFSET, as next of an answer gives it")
    return _Place(int(partition), int(offset))


def _from(span: Span, first: _Place) -> Span:
    number = span.tp.partition
    if number > first.partition:
        return span
    start = span.end if number < first.partition else min(span.end, max(span.start, first.offset))
    return span._replace(start=start)
