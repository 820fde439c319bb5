"""POST /api/dlq/decisions: park or discard dead letters, with a reason. The journals record it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from starlette.requests import Request
from starlette.responses import Response

from streams.connect.access.refusals import BadRequest
from streams.connect.access.tokens import Role
from streams.core.clock import Clock
from streams.core.errors import ProducerFenced, RefusedBySafety
from streams.core.topics.topology import Topology
from streams.core.types import Broker
from streams.http.console import parameters, reply
from streams.http.console.access.authorizer import Authorizer
from streams.http.console.access.operations import Operations
from streams.http.console.dead_letters.chosen import Chosen, filters_of
from streams.http.console.dead_letters.journals import Journals
from streams.http.console.dead_letters.letters import (
    DeadLetterHandler,
    DeadLetterQuery,
    source_named,
)
from streams.operate.dlq.dead_letter import DeadLetterRecord
from streams.operate.replay.journal.control import dispose
from streams.operate.replay.journal.dispositions import ReplayDisposition

REASON_MAX: Final = 500
DECIDED_MAX: Final = 10_000
"""by one request; `dia dlq park` and `discard` have no bound"""

Decision: TypeAlias = Literal["park", "discard"]
_DISPOSITIONS: Final = {
    "park": ReplayDisposition.PARKED,
    "discard": ReplayDisposition.DISCARDED,
}


class _Decided(Chosen, kw_only=True, forbid_unknown_fields=True):
    """``expected``: how many dead letters the caller saw; more are refused."""

    decision: Decision
    reason: str
    expected: int


@dataclass(eq=False)
class DecisionHandler:
    """Rows in ClickHouse follow with the partition's next replay: the console writes no rows."""

    _gate: Authorizer
    _topology: Topology
    _letters: DeadLetterHandler
    _broker: Broker
    _journals: Journals
    _operations: Operations
    _clock: Clock

    async def decide(self, request: Request) -> Response:
        """Raises `BadRequest` without a reason, and `RefusedBySafety` where more dead letters than
        expected match, or another process took the partition."""
        holder = self._gate.holder(request, Role.OPERATE)
        asked = await parameters.body(request, _Decided)
        reason = asked.reason.strip()
        if not 1 <= len(reason) <= REASON_MAX:
            raise BadRequest(f"a reason has 1 to {REASON_MAX} characters")
        source = source_named(self._topology, asked.topic)
        filters = filters_of(holder, asked, self._clock.now_ms() / 1000)
        query = DeadLetterQuery(source, filters)
        async with self._letters.bounded(holder):
            pages = await self._chosen(query, asked.expected)
            subject = {
                "decision": asked.decision,
                "topic": source.name,
                "letters": sum(map(len, pages)),
                "reason": reason,
            }
            async with self._operations.noted(holder, "dead_letters_decided", subject):
                try:
                    done = await dispose(
                        *(self._broker, None, self._clock, self._topology, source),
                        *(_each(pages), _DISPOSITIONS[asked.decision], holder.actor, reason),
                    )
                except ProducerFenced as error:
                    raise RefusedBySafety(
                        "a replay or another decision took the partition over. What was decided "
                        "until then is recorded; repeat the rest when that is done."
                    ) from error
        self._journals.forget()
        return reply.json(
            request, {**subject, "decided": done.disposed, "unchanged": done.unchanged}
        )

    async def _chosen(
        self, query: DeadLetterQuery, expected: int
    ) -> list[Sequence[DeadLetterRecord]]:
        """Pages as `dispose` takes them: of one partition each, in order."""
        found: list[Sequence[DeadLetterRecord]] = []
        async with aclosing(self._letters.pages(query)) as pages:
            async for page in pages:
                if selected := await asyncio.to_thread(query.filters.select, page):
                    found.append(selected)
                if sum(map(len, found)) > min(expected, DECIDED_MAX):
                    raise RefusedBySafety(
                        f"more dead letters match than the {expected:,} shown, or than {DECIDED_MAX:,}: "
                        "reload the list and narrow the filters. Nothing was decided."
                    )
        return found


async def _each(
    pages: Sequence[Sequence[DeadLetterRecord]],
) -> AsyncIterator[Sequence[DeadLetterRecord]]:
    for page in pages:
        yield page
