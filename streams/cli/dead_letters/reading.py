"""Reads dead letters for a command: manages clients and shows progress on stderr."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from streams.cli.clients import admin_and_reader

if TYPE_CHECKING:
    from streams.cli.invocation import Invocation
    from streams.core.types import Admin, LogReader
    from streams.operate.dlq.dead_letter import DeadLetterRecord
    from streams.operate.dlq.filters import Filters
    from streams.operate.dlq.scan import OffsetSpan
    from streams.operate.replay.journal.decided import Decided

PROGRESS_FROM = 50_000
"""offsets; shorter reads show no progress"""


async def frozen(
    run: Invocation, admin: Admin, reader: LogReader, filters: Filters
) -> list[OffsetSpan]:
    from streams.operate.dlq.queues import queues, spans_of

    return filters.narrow(await spans_of(reader, await queues(admin, run.topology, filters.topics)))


@asynccontextmanager
async def pages(
    run: Invocation, filters: Filters
) -> AsyncIterator[AsyncIterator[list[DeadLetterRecord]]]:
    """The reading ends before its clients close, also when the loop over it fails."""
    async with admin_and_reader(run.settings) as (admin, reader):
        spans = await frozen(run, admin, reader, filters)
        async with aclosing(pages_of(run, reader, spans, filters)) as found:
            yield found


async def pages_of(
    run: Invocation, reader: LogReader, spans: list[OffsetSpan], filters: Filters
) -> AsyncGenerator[list[DeadLetterRecord], None]:
    """With progress for many."""
    from streams.core.process import process_memory
    from streams.operate.dlq.filters import select

    # The topics have selected the queues; dead letters of a foreign queue may name no topic.
    chosen = replace(filters, topics=())
    offsets = sum(span.offsets for span in spans)
    if offsets < PROGRESS_FROM:
        async with aclosing(select(reader, spans, chosen, run.topology)) as found:
            async for page in found:
                yield page
        return
    process_memory.settle()  # millions of short-lived objects follow
    with run.printer().progress("reading", offsets, "offsets") as bar:
        async with aclosing(select(reader, spans, chosen, run.topology, bar.advance)) as found:
            async for page in found:
                yield page


async def decided(run: Invocation) -> Decided:
    """Empty, with a message, when a journal cannot be read."""
    from streams.cli import clients
    from streams.core.errors import PartitionStopped
    from streams.operate.replay.journal.control import journals
    from streams.operate.replay.journal.decided import Decided

    try:
        return Decided(await journals(clients.broker_of(run.settings), run.topology.topics))
    except PartitionStopped as error:
        run.printer().warn(f"dispositions are not shown: {error} [{error.code}]")
        return Decided({})
