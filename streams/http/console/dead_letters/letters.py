"""Dead letters over HTTP: groups, a list, and one in full."""

from __future__ import annotations

import asyncio
import re
from bisect import bisect_right
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, get_args

from starlette.requests import Request
from starlette.responses import Response

from streams.connect.access.fair_semaphore import FairSemaphore
from streams.connect.access.refusals import BadRequest, SourceUnavailable, UnknownResource
from streams.connect.access.tokens import Role
from streams.connect.cache.kind import LETTERS
from streams.core.clock import Clock
from streams.core.errors import PartitionStopped
from streams.core.settings import Settings
from streams.core.topics.topic import Topic
from streams.core.topics.topology import Topology
from streams.core.types import Broker
from streams.http.console import reply
from streams.http.console.access.authorizer import Authorizer, Principal
from streams.http.console.dead_letters.cache import DeadLetterCache
from streams.http.console.dead_letters.journals import LISTED_FRESH_S, Journals, entries_of
from streams.http.console.logs import Logs
from streams.http.console.parameters import Parameters
from streams.http.console.payload import decoded, hexadecimal
from streams.http.console.response_cache import QueryKey, ResponseCache
from streams.operate.dlq.dead_letter import DeadLetterRecord
from streams.operate.dlq.filters import Filters, QueuePlace, belongs
from streams.operate.dlq.queues import queues_in
from streams.operate.dlq.scan import OffsetSpan, bounds, scan
from streams.operate.dlq.tally import DeadLetterGroup, DeadLetterTally
from streams.operate.replay.journal.decided import Decided
from streams.operate.replay.report import sheet_of

LISTED: Final = 100
LISTED_MAX: Final = 500
SCANNED_MAX: Final = 200_000
"""Scanned for one response; beyond it the response is marked incomplete."""
SCANS: Final = 4
"""Concurrent scans of all owners; one of each."""
_WAIT_S: Final = 5.0
_ANSWER_S: Final = 15.0
_PAGE: Final = 1000
_WHOLE: Final = re.compile(r"-?[0-9]{1,18}")
"""Processed in one call on a thread; the event loop runs in between."""

_By = Literal["error", "path", "tenant", "agent", "age", "topic", "stage", "disposition"]
_BEGIN: Final = QueuePlace(0, 0)
_FILTERS = ("topic", "since", "until", "error", "path", "agent", "tenant", "partition")


class DeadLetterQuery(NamedTuple):
    source: Topic
    filters: Filters


def source_named(topology: Topology, name: str | None) -> Topic:
    """None: the first topic. Raises `BadRequest` for an undeclared one."""
    if name is None:
        name = next(iter(topology.by_name), "")
    if name not in topology.by_name:
        raise BadRequest(f"topic is one of {topology.names}")
    return topology.by_name[name]


def tenants_of(holder: Principal, asked: Iterable[str]) -> tuple[str, ...]:
    """Raises `Forbidden` for a tenant outside the caller's rights."""
    return tuple(holder.tenant(tenant) for tenant in asked)


@dataclass(eq=False)
class DeadLetterHandler:
    """GET /api/dlq/groups, letters, letter."""

    _gate: Authorizer
    _topology: Topology
    _answers: ResponseCache
    _broker: Broker
    _logs: Logs
    _journals: Journals
    _settings: Settings
    _clock: Clock

    def __post_init__(self) -> None:
        self._shelves = {
            source: DeadLetterCache(source, self._topology, self._logs, self._clock)
            for source in self._topology.topics
        }
        self._turns = FairSemaphore(
            "readings of dead letters", places=SCANS, owner_max=1, wait_s=_WAIT_S
        )

    async def close(self) -> None:
        """Cancel reads in progress."""
        for shelf in self._shelves.values():
            await shelf.close()

    async def groups(self, request: Request) -> Response:
        holder, given = self._gate.holder(request, Role.READ), Parameters(request)
        asked = self._asked(holder, given)
        by = given.names("by", len(get_args(_By))) or ("error",)
        if unknown := set(by) - set(get_args(_By)):
            raise BadRequest(f"by is not {', '.join(sorted(unknown))}")
        decided, said = await self._decided() if "disposition" in by else (Decided({}), 0)
        question = _question(holder, given, ("groups", *by, said))
        body = await self._answers.told(question, lambda: self._groups(holder, asked, by, decided))
        return reply.json(request, body)

    async def listed(self, request: Request) -> Response:
        holder, given = self._gate.holder(request, Role.READ), Parameters(request)
        asked = self._asked(holder, given)
        limit = given.number("limit", LISTED, 1, LISTED_MAX)
        first = given.optional("after")
        decided, said = await self._decided()
        question = _question(holder, given, ("letters", limit, first, said))
        body = await self._answers.told(
            question, lambda: self._listed(holder, asked, limit, first, decided)
        )
        return reply.json(request, body)

    async def _groups(
        self, holder: Principal, asked: DeadLetterQuery, by: Sequence[str], decided: Decided
    ) -> dict[str, Any]:
        more = {"disposition": lambda letter, _: decided.of(letter).word or "open"}
        tally, scanned = DeadLetterTally(by, self._clock.now_ms(), more, courses=True), 0
        async with self.bounded(holder), aclosing(self.pages(asked)) as pages:
            async for page in pages:
                scanned += len(page)
                await asyncio.to_thread(_count, tally, asked.filters, page)
                if scanned >= SCANNED_MAX:
                    break
        return {
            "by": by,
            "scanned": scanned,
            "complete": scanned < SCANNED_MAX,
            "groups": [_group(one) for one in tally.groups()],
        }

    async def _listed(
        self,
        holder: Principal,
        asked: DeadLetterQuery,
        limit: int,
        after: str | None,
        decided: Decided,
    ) -> dict[str, Any]:
        """Newest first, with the total; of a queue that is too long to cache, in its order."""
        if await self._shelves[asked.source].read() is None:
            return await self._in_order(holder, asked, limit, _place(after), decided)
        last, found = _age(after), list[DeadLetterRecord]()
        async with self.bounded(holder), aclosing(self.pages(asked)) as pages:
            async for selected in pages:
                found += await asyncio.to_thread(asked.filters.select, selected)
        found.sort(key=_from_newest)
        start = 0 if last is None else bisect_right(found, last, key=_from_newest)
        page = found[start : start + limit]
        more = start + len(page) < len(found)
        return {
            "letters": [_line(letter, decided) for letter in page],
            "next": ":".join(map(str, _from_newest(page[-1]))) if more else None,
            "total": len(found),
            "first": start + 1 if page else 0,
        }

    async def _in_order(
        self,
        holder: Principal,
        asked: DeadLetterQuery,
        limit: int,
        first: QueuePlace,
        decided: Decided,
    ) -> dict[str, Any]:
        scanned, found, onward = 0, list[DeadLetterRecord](), None
        async with self.bounded(holder), aclosing(self.pages(asked, first)) as pages:
            async for page in pages:
                scanned += len(page)
                found += await asyncio.to_thread(asked.filters.select, page)
                last = found[limit - 1] if len(found) > limit else page[-1]
                if len(found) > limit or scanned >= SCANNED_MAX:
                    onward = f"{last.dlq.partition}:{last.offset + 1}"
                    break
        lines = [_line(letter, decided) for letter in found[:limit]]
        return {"letters": lines, "next": onward, "total": None, "first": None}

    async def one(self, request: Request) -> Response:
        holder, given = self._gate.holder(request, Role.READ), Parameters(request)
        place = given.optional("place") or given.name("id")
        async with self.bounded(holder):
            sheet = await sheet_of(self._broker, self._settings, self._topology, place)
        owner = holder.token.tenant
        value = sheet.original.value if sheet is not None else None
        # As for a missing dead letter: its existence is not revealed.
        if sheet is None or (owner is not None and not belongs(sheet.letter, value, owner)):
            raise UnknownResource("there is no dead letter of that name")
        return reply.json(request, {**sheet.fields(), **decoded(value), **hexadecimal(value)})

    @asynccontextmanager
    async def bounded(self, holder: Principal) -> AsyncIterator[None]:
        """Few scans at a time, one of each owner, with a deadline. Raises `Overloaded`,
        `SourceUnavailable`."""
        async with self._turns.taken(holder.owner), _for_long():
            yield

    def _asked(self, holder: Principal, given: Parameters) -> DeadLetterQuery:
        now_s = self._clock.now_ms() / 1000
        filters = Filters(
            since_ms=given.maybe_moment_ms("since", now_s),
            until_ms=given.maybe_moment_ms("until", now_s),
            errors=given.names("error", 100),
            paths=given.names("path", 100),
            agents=given.names("agent", 100),
            tenants=tenants_of(holder, given.names("tenant", 100)),
            owner=holder.token.tenant,
            partitions=given.numbers("partition", 1_000_000),
        )
        return DeadLetterQuery(source_named(self._topology, given.optional("topic")), filters)

    async def pages(
        self, asked: DeadLetterQuery, first: QueuePlace = _BEGIN
    ) -> AsyncGenerator[list[DeadLetterRecord], None]:
        """Every dead letter of the selected partitions, from ``first`` on; a page is of one, in offset
        order."""
        held = await self._shelves[asked.source].read()
        if held is not None:
            for span in asked.filters.narrow(held.spans):
                letters = held.between(_from(span, first))
                for start in range(0, len(letters), _PAGE):
                    yield [*letters[start : start + _PAGE]]
            return
        [queue] = queues_in(await self._logs.topics(), self._topology, (asked.source.name,))
        async with self._logs.reader() as reader:
            spans = asked.filters.narrow(await bounds(reader, *queue))
            rest = [_from(span, first) for span in spans]
            async for page in scan(reader, rest, self._topology, _PAGE, aside=True):
                yield page

    async def _decided(self) -> tuple[Decided, int]:
        """The last decisions, and the number of journal entries. Empty when a journal cannot be
        read; `dia doctor` gives the reason."""
        try:
            found = await self._journals.get(LISTED_FRESH_S)
        except PartitionStopped:
            return Decided({}), -1
        return Decided(found), entries_of(found)


@asynccontextmanager
async def _for_long() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(_ANSWER_S):
            yield
    except TimeoutError:
        what = "the queue is too long: narrow the filters, or use `dia dlq`"
        raise SourceUnavailable(what, retry_after_s=_ANSWER_S) from None


def _group(one: DeadLetterGroup) -> dict[str, Any]:
    found = one._asdict()
    course = found.pop("course")
    return {**found, **course._asdict()}


def _count(tally: DeadLetterTally, filters: Filters, page: Sequence[DeadLetterRecord]) -> None:
    tally.add(filters.select(page))


def _question(holder: Principal, given: Parameters, asked: tuple[Any, ...]) -> QueryKey:
    """``asked`` with all filters as written: "the last hour" is one cache key."""
    filters = tuple(given.names(name, 100) for name in _FILTERS)
    return QueryKey(LETTERS, holder.token.tenant or "", (*asked, *filters))


def _line(letter: DeadLetterRecord, decided: Decided) -> dict[str, Any]:
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


def _from_newest(letter: DeadLetterRecord) -> tuple[int, int, int]:
    """Rises from the newest dead letter to the oldest."""
    return -letter.failed_ms, letter.dlq.partition, -letter.offset


def _age(text: str | None) -> tuple[int, int, int] | None:
    """As `_from_newest` of the last dead letter of the page before. Raises `BadRequest`."""
    if text is None:
        return None
    parts = text.split(":")
    if len(parts) != 3 or not all(_WHOLE.fullmatch(part) for part in parts):
        raise BadRequest("after is `next` of the answer before; read the list again")
    age, partition, offset = map(int, parts)
    return age, partition, offset


def _place(text: str | None) -> QueuePlace:
    if text is None:
        return _BEGIN
    partition, _, offset = text.partition(":")
    if not (partition.isascii() and partition.isdigit() and offset.isascii() and offset.isdigit()):
        raise BadRequest("after is `next` of the answer before; read the list again")
    return QueuePlace(int(partition), int(offset))


def _from(span: OffsetSpan, first: QueuePlace) -> OffsetSpan:
    number = span.tp.partition
    if number > first.partition:
        return span
    start = span.end if number < first.partition else min(span.end, max(span.start, first.offset))
    return span._replace(start=start)
