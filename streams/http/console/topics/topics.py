"""GET /api/topics: the topics, and one with settings, partitions and groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from streams.connect.access.fair_semaphore import FairSemaphore
from streams.connect.access.refusals import SourceUnavailable, UnknownResource
from streams.connect.access.tokens import Role
from streams.connect.broker.opened import opened
from streams.connect.cache.cached_value import CachedValue
from streams.core.clock import Clock
from streams.core.errors import UnknownTopic
from streams.core.resilience.deadline import Deadline, DeadlinePassed
from streams.core.settings import Settings
from streams.core.topics.topology import Topology
from streams.core.types import Broker
from streams.http.console import reply
from streams.http.console.access.authorizer import Authorizer
from streams.http.console.logs import Logs
from streams.operate.topics.topic_descriptions import ListedTopic, listed
from streams.operate.topics.topic_sheet import TopicSheet, sheet_of

FRESH_S: Final = 5.0
SHEETS: Final = 2
"""Descriptions at a time, of all owners."""
WAIT_S: Final = 5.0
ANSWER_S: Final = 15.0
TENANTS_KINDS: Final = frozenset({"source", "dlq", "parked"})
"""Kinds of topics whose records belong to tenants."""


@dataclass(eq=False)
class TopicHandler:
    """/api/topics. Figures cover every tenant: a bound token sees names and kinds only."""

    _gate: Authorizer
    _settings: Settings
    _topology: Topology
    _broker: Broker
    _logs: Logs
    _clock: Clock

    def __post_init__(self) -> None:
        self._listed = CachedValue(self._read, FRESH_S, self._clock)
        self._turns = FairSemaphore(
            "descriptions of topics", places=SHEETS, owner_max=1, wait_s=WAIT_S
        )

    async def close(self) -> None:
        await self._listed.close()

    async def listed(self, request: Request) -> Response:
        """GET /api/topics."""
        holder = self._gate.holder(request, Role.READ)
        found = await self._listed.get()
        if holder.token.tenant is not None:
            shown = [_named(one) for one in found if one.kind in TENANTS_KINDS]
        else:
            shown = [_counted(one) for one in found]
        return reply.json(request, {"topics": shown})

    async def one(self, request: Request) -> Response:
        """GET /api/topics/{topic}."""
        holder = self._gate.holder(request, Role.ADMIN)
        holder.require_everyone()
        async with self._turns.taken(holder.owner):
            try:
                sheet = await Deadline(self._clock, ANSWER_S).wait(
                    self._sheet(request.path_params["topic"])
                )
            except UnknownTopic as error:
                raise UnknownResource("there is no such topic") from error
            except DeadlinePassed:
                what = "Kafka did not describe the topic in time"
                raise SourceUnavailable(what, retry_after_s=ANSWER_S) from None
        return reply.json(request, sheet.fields())

    async def _sheet(self, topic: str) -> TopicSheet:
        async with opened(self._broker.admin()) as admin, self._logs.reader() as reader:
            return await sheet_of(admin, reader, self._settings, self._topology, topic)

    async def _read(self) -> Sequence[ListedTopic]:
        async with opened(self._broker.admin()) as admin, self._logs.reader() as reader:
            return await listed(admin, reader, self._topology, every=True)


def _counted(one: ListedTopic) -> dict[str, Any]:
    return {**one._asdict(), "groups": [*one.groups]}


def _named(one: ListedTopic) -> dict[str, Any]:
    hidden: dict[str, Any] = {"offsets": None, "retention_ms": None, "groups": []}
    return {**one._asdict(), **hidden}
