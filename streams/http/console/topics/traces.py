"""GET /api/trace: what became of an event."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import structlog
from starlette.requests import Request
from starlette.responses import Response

from streams.connect.access.fair_semaphore import FairSemaphore
from streams.connect.access.refusals import BadRequest
from streams.connect.access.tokens import Role
from streams.connect.broker.opened import opened
from streams.core.clock import Clock
from streams.core.errors import DependencyUnreachable, DiaError
from streams.core.settings import Settings
from streams.core.types import Broker
from streams.core.words.record_key import record_key
from streams.engine.app.app import App
from streams.http.console import reply
from streams.http.console.access.authorizer import Authorizer, Principal
from streams.http.console.logs import Logs
from streams.http.console.parameters import Parameters
from streams.operate.trace.means import FINDS_MAX, TraceBounds, TraceMeans
from streams.operate.trace.shown_rows import ShardRows, ShownRows, Where
from streams.operate.trace.trace_fields import fields
from streams.operate.trace.trace_times import trace_times
from streams.operate.trace.tracer import TEXT_BYTES_MAX, trace

TRACE_S: Final = 15.0
"""A browser waits no longer; `dia trace --timeout` does."""
TRACES: Final = 2
"""At a time, of all owners; one of each."""
_WAIT_S: Final = 10.0

log = structlog.get_logger(__name__)


@dataclass(eq=False)
class TraceHandler:
    _gate: Authorizer
    _app: App
    _settings: Settings
    _broker: Broker
    _logs: Logs
    _clock: Clock

    def __post_init__(self) -> None:
        self._turns = FairSemaphore("traces", places=TRACES, owner_max=1, wait_s=_WAIT_S)

    async def show(self, request: Request) -> Response:
        """The fields of `dia trace --json`. A bound token gets its own tenant's records and letters,
        and no plan."""
        holder, given = self._gate.holder(request, Role.READ), Parameters(request)
        text = given.text("id", TEXT_BYTES_MAX)
        if text is None:
            raise BadRequest("the parameter id is missing")
        bounds = self._bounds(holder, given)
        async with self._turns.taken(holder.owner), self._means() as means:
            report = await trace(means, text, bounds)
        return reply.json(request, {"as_of_ms": self._clock.now_ms(), **fields(report)})

    def _bounds(self, holder: Principal, given: Parameters) -> TraceBounds:
        tenant, key = given.tenant(), given.optional("key")
        around, since, until = (given.text(name, 40) for name in ("around", "since", "until"))
        return TraceBounds(
            topics=given.names("topic", 100),
            times=trace_times(self._clock.now_ms() / 1000, around, since, until),
            key=None if key is None else record_key(key, "key"),
            tenant=None if tenant is None else holder.tenant(tenant),
            owner=holder.token.tenant,
            finds_max=given.number("limit", FINDS_MAX, 1, 200),
            deadline_s=TRACE_S,
        )

    @asynccontextmanager
    async def _means(self) -> AsyncIterator[TraceMeans]:
        shards = (
            ShardRows(self._settings, self._app.clickhouse_tables)
            if self._settings.shards()
            else None
        )
        try:
            async with opened(self._broker.admin()) as admin, self._logs.reader() as reader:
                shown = None if shards is None else _AnonymousRows(shards)
                at = (self._settings, self._clock, reader, admin, shown)
                yield TraceMeans.of(self._app, *at)
        finally:
            if shards is not None:
                shards.close()


class _AnonymousRows:
    """`ShownRows` whose errors name no server: the log has them."""

    def __init__(self, rows: ShownRows) -> None:
        self._rows = rows

    async def rows(
        self, table: str, columns: Mapping[str, str], where: Sequence[Where]
    ) -> list[dict[str, Any]]:
        """Raises `DependencyUnreachable`."""
        try:
            return await self._rows.rows(table, columns, where)
        except DiaError as error:
            log.info("trace_rows_unavailable", code=error.code, why=str(error))
            raise DependencyUnreachable("ClickHouse does not answer") from error
