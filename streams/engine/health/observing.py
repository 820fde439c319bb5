"""Asks the broker about every declared source. Missing answers are None in the observation, with
the reason; no error is raised for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from streams.connect.broker.opened import opened
from streams.core.clock import Clock
from streams.core.errors import DiaError
from streams.core.topics.topology import DeclaredSource
from streams.core.types import Admin, Broker, LogReader, TopicPartition
from streams.engine.health.live_workers import LiveWorker
from streams.engine.health.observation import Observation, SourceObservation

TIMEOUT_S: Final = 5.0
"""deadline of all requests together"""
_SOURCES_AT_ONCE: Final = 16


async def observe(
    broker: Broker,
    sources: Iterable[DeclaredSource],
    workers: Sequence[LiveWorker],
    clock: Clock,
    *,
    local_members: str | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Observation:
    found = {source: SourceObservation(source=source) for source in sources}
    why = ""
    try:
        async with asyncio.timeout(timeout_s), _clients(broker) as (admin, reader):
            topics = await admin.describe_topics()
            turns = asyncio.Semaphore(_SOURCES_AT_ONCE)

            async def ask(source: DeclaredSource) -> None:
                count = topics[source.topic].partitions if source.topic in topics else 0
                async with turns:
                    found[source] = await _source(admin, reader, source, count)

            async with asyncio.TaskGroup() as asking:
                for source in found:
                    asking.create_task(ask(source))
    except DiaError as error:
        why = str(error)
    except TimeoutError:
        why = f"the broker did not answer within {timeout_s:g} s"
    return Observation(
        at_ms=clock.now_ms(),
        sources=tuple(
            one if one.logs is not None or one.why else replace(one, why=why)
            for one in found.values()
        ),
        workers=tuple(workers),
        local_members=local_members,
    )


@asynccontextmanager
async def _clients(broker: Broker) -> AsyncIterator[tuple[Admin, LogReader]]:
    async with opened(broker.admin()) as admin, opened(broker.reader()) as reader:
        yield admin, reader


async def _source(
    admin: Admin, reader: LogReader, source: DeclaredSource, partitions: int
) -> SourceObservation:
    """Offsets are read before log ends: a moving partition must not seem committed past its end."""
    observed = SourceObservation(source=source)
    places = [TopicPartition(source.topic, number) for number in range(partitions)]
    try:
        observed = replace(observed, group=await admin.describe_group(source.group))
        committed = await admin.committed(source.group, places, stable=False)
        bounds = await reader.bounds(places)
    except DiaError as error:
        return replace(observed, why=str(error))
    return replace(
        observed,
        logs={tp.partition: log for tp, log in bounds.items()},
        committed={tp.partition: offset.offset for tp, offset in committed.items()},
    )
