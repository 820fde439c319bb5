"""Accepted simulations without a result, read from the log.

A commit moves the group's offset past finished requests only (J5 in docs/protocols/jobs.md), so
every unfinished request is at or behind it. Those that finished out of order have a row with their
offset in ClickHouse, and the append time: a recreated topic has other requests at the same offsets.
A finished request is listed until its row is visible; a dead letter, until the offset passes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from streams.connect.broker.log_range import read_some
from streams.connect.broker.opened import opened
from streams.connect.cache.cached_value import CachedValue
from streams.core.clock import Clock
from streams.core.types import Broker, LogReader, OffsetOutOfRange, RecordBatch, TopicPartition
from streams.engine.agents.job_agent import JobAgent
from streams.http.console.logs import Logs
from streams.http.console.shards import ShardReader

FRESH_S: Final = 2.0
READ_MAX: Final = 2000
"""Of one partition; the response is marked when more wait."""
LISTED_MAX: Final = 200

_FINISHED = """
SELECT part, off, toUnixTimestamp64Milli(requested)
FROM simulations_local
WHERE tenant = {tenant:String} AND off >= {starts:Array(UInt64)}[part + 1]
"""


class _Asked(msgspec.Struct):
    """The listed fields of a request."""

    tenant_id: str
    request_id: str
    idempotency_key: str
    model_id: str
    scenario: str
    priority: int = 0
    trials: int = 0


class WaitingRequest(NamedTuple):
    """``accepted_ms`` is its append time."""

    asked: _Asked
    partition: int
    offset: int
    accepted_ms: int


class _Behind(NamedTuple):
    """``requests`` from ``starts`` on, the committed offset of each partition; ``complete``: all of
    them."""

    requests: Sequence[WaitingRequest]
    starts: Sequence[int]
    complete: bool


class WaitingRequests:
    def __init__(
        self,
        agent: JobAgent[Any] | None,
        broker: Broker,
        logs: Logs,
        shards: ShardReader,
        clock: Clock,
    ) -> None:
        """``agent`` None: the app has no simulations."""
        self._agent = agent
        self._broker = broker
        self._logs = logs
        self._shards = shards
        self._behind = CachedValue(self._read, FRESH_S, clock)

    async def of(self, tenant: str) -> dict[str, Any]:
        """Oldest first, at most `LISTED_MAX`. Raises `BrokerUnavailable`, and as
        `ShardReader.of_all`."""
        behind = await self._behind.get()
        mine = [one for one in behind.requests if one.asked.tenant_id == tenant]
        given = {"tenant": tenant, "starts": [*behind.starts]}
        rows = await self._shards.of_all(_FINISHED, given) if mine else ()
        finished = {(partition, offset, at_ms) for partition, offset, at_ms in rows}
        left = [one for one in mine if (one.partition, one.offset, one.accepted_ms) not in finished]
        left.sort(key=lambda one: one.accepted_ms)
        return {
            "requests": [_told(one) for one in left[:LISTED_MAX]],
            "complete": behind.complete and len(left) <= LISTED_MAX,
        }

    async def close(self) -> None:
        await self._behind.close()

    async def _read(self) -> _Behind:
        if self._agent is None:
            return _Behind([], [], complete=True)
        asked = self._agent.source.name
        topic = (await self._logs.topics()).get(asked)
        partitions = topic.partitions if topic is not None else 0
        places = [TopicPartition(asked, number) for number in range(partitions)]
        committed = await self._committed(self._agent.group, places)
        starts = [committed.get(place, 0) for place in places]
        found, complete = list[WaitingRequest](), True
        async with self._logs.reader() as reader:
            for place, start in zip(places, starts, strict=True):
                requests, whole = await _read_from(reader, place, start)
                found += requests
                complete = complete and whole
        return _Behind(found, starts, complete)

    async def _committed(
        self, group: str, places: Sequence[TopicPartition]
    ) -> Mapping[TopicPartition, int]:
        async with opened(self._broker.admin()) as admin:
            found = await admin.committed(group, places, stable=False)
        return {place: one.offset for place, one in found.items()}


async def _read_from(
    reader: LogReader, place: TopicPartition, committed: int
) -> tuple[list[WaitingRequest], bool]:
    """At most `READ_MAX` records from ``committed`` on, and whether those are all."""
    found, records = list[WaitingRequest](), 0
    at = max(committed, await reader.beginning_offset(place))
    end = await reader.last_stable_offset(place)
    while at < end and records < READ_MAX:
        try:
            batch = await read_some(reader, place, at, end, READ_MAX - records)
        except OffsetOutOfRange:
            # Retention deleted them meanwhile; the next read starts later.
            break
        found += _requests(batch)
        records, at = records + len(batch), batch.end
    return found, at >= end


_decode = msgspec.json.Decoder(_Asked).decode


def _requests(batch: RecordBatch) -> list[WaitingRequest]:
    """The readable requests whose tenant matches their key; the others become dead letters."""
    columns = zip(batch.keys, batch.values, batch.offsets, batch.timestamps, strict=True)
    found = []
    for key, value, offset, at_ms in columns:
        try:
            asked = _decode(value or b"")
        except (ValueError, RecursionError):
            continue
        if asked.tenant_id.encode() == key:
            found.append(WaitingRequest(asked, batch.tp.partition, offset, at_ms))
    return found


def _told(one: WaitingRequest) -> dict[str, Any]:
    asked = one.asked
    return {
        "idempotency_key": asked.idempotency_key,
        "request_id": asked.request_id,
        "model": asked.model_id,
        "scenario": asked.scenario,
        "priority": asked.priority,
        "trials": asked.trials,
        "accepted_ms": one.accepted_ms,
    }
