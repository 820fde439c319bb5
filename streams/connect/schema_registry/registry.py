"""Schemas in memory; each id is requested once.

A schema never changes, so it stays until newer ones need the space. An unknown id is cached for
`UNKNOWN_S` only: a replica of the registry may lag."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Final, Protocol, TypeVar

from streams.core.clock import Clock
from streams.core.errors import (
    BreakerOpen,
    SchemaPending,
    SchemaRegistryUnavailable,
    SubjectPending,
)
from streams.core.formats.schema_source import RegisteredSchema, Subject
from streams.core.resilience.breaker import Breaker, BreakerPolicy
from streams.core.telemetry.metrics import Metrics


class RegistryTransport(Protocol):
    """Both calls raise `SchemaRegistryUnavailable` without an answer."""

    async def schema(self, schema_id: int) -> RegisteredSchema | None:
        """None: the registry has no schema of this id."""
        ...

    async def register(self, subject: Subject) -> int:
        """Raises `SchemaRefused` when the registry refuses it, or does not have it and may not
        register it."""
        ...


T = TypeVar("T")

BREAKER: Final = BreakerPolicy(failures=5, open_s=5.0, successes=1, consecutive=True)
SCHEMAS_MAX: Final = 2000
UNKNOWN_MAX: Final = 1_000_000
"""A few bytes each; two fetches of the largest size name as many."""
UNKNOWN_S: Final = 300.0
_AT_ONCE: Final = 8


class SchemaRegistry:
    """One serves all partitions of a process."""

    def __init__(self, transport: RegistryTransport, clock: Clock, metrics: Metrics) -> None:
        away = (SchemaRegistryUnavailable,)
        self.breaker = Breaker("schema_registry", BREAKER, away, clock, metrics)
        self._transport = transport
        self._clock = clock
        self._schemas: dict[int, RegisteredSchema] = {}
        self._unknown: dict[int, float] = {}
        """monotonic seconds of each request"""
        self._ids: dict[Subject, int] = {}

    def by_id(self, ids: Collection[int]) -> Mapping[int, RegisteredSchema | None]:
        absent = [one for one in ids if not self._has(one)]
        if absent:
            raise SchemaPending(
                f"{len(absent)} schemas, {min(absent)} first, are not in memory yet; the registry is queried",
                partial(self._obtain, absent),
            )
        return {one: self._schemas.get(one) for one in ids}

    def id_of(self, subject: Subject) -> int:
        found = self._ids.get(subject)
        if found is None:
            raise SubjectPending(
                f"the id of the schema of {subject.name} is not in memory yet; the registry is queried",
                partial(self._register, subject),
            )
        return found

    async def _obtain(self, ids: Sequence[int]) -> None:
        """Every answer is stored, even if another request fails."""
        asked = [one for one in ids if not self._has(one)]
        left = iter(asked)
        failed: list[SchemaRegistryUnavailable] = []

        async def ask_the_rest() -> None:
            for schema_id in left:
                try:
                    await self._ask(schema_id)
                except SchemaRegistryUnavailable as error:
                    failed.append(error)
                    return

        await asyncio.gather(*(ask_the_rest() for _ in range(min(_AT_ONCE, len(asked)))))
        self._make_room(len(asked))
        if failed:
            raise failed[0]

    async def _ask(self, schema_id: int) -> None:
        found = await self._call(partial(self._transport.schema, schema_id))
        if found is None:
            self._unknown[schema_id] = self._clock.monotonic()
        else:
            self._schemas[schema_id] = found

    async def _register(self, subject: Subject) -> None:
        self._ids[subject] = await self._call(partial(self._transport.register, subject))

    async def _call(self, ask: Callable[[], Awaitable[T]]) -> T:
        try:
            return await self.breaker.call(ask)
        except BreakerOpen as error:
            raise SchemaRegistryUnavailable(str(error)) from error

    def _has(self, schema_id: int) -> bool:
        if schema_id in self._schemas:
            return True
        asked_at = self._unknown.get(schema_id)
        return asked_at is not None and self._clock.monotonic() - asked_at < UNKNOWN_S

    def _make_room(self, newest: int) -> None:
        """Evict the oldest schemas, but none of the ``newest``, which are needed next."""
        for kept, most in ((self._schemas, SCHEMAS_MAX), (self._unknown, UNKNOWN_MAX)):
            over = len(kept) - max(most, newest)
            for schema_id in [*kept][: max(0, over)]:
                del kept[schema_id]
