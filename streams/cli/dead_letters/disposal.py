"""`dia dlq discard` and `dia dlq park`: journaled decisions on dead letters; nothing is deleted."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.clients import admin_and_reader
from streams.cli.invocation import invocation
from streams.cli.terminal.operator import Actor, Reason, Yes, actor_of, consent

if TYPE_CHECKING:
    from streams.cli.invocation import Invocation
    from streams.operate.dlq.filters import Filters
    from streams.operate.dlq.scan import OffsetSpan
    from streams.operate.dlq.tally import DeadLetterTally
    from streams.operate.replay.journal.control import Disposal
    from streams.operate.replay.journal.dispositions import ReplayDisposition

_Everything = Annotated[
    bool, typer.Option("--all", help="Every letter: needed where no filter is given.")
]


def discard(
    ctx: typer.Context,
    *,
    reason: Reason = "",
    actor: Actor = None,
    everything: _Everything = False,
    yes: Yes = False,
    filters: Filters,
) -> None:
    """Decide that dead letters are never replayed. They stay in the DLQ.

    A replayed dead letter stays replayed; repeating the command changes nothing.

    Example: dia dlq discard --topic model.metrics --error invalid_json --reason "load test"
    """
    from streams.operate.replay.journal.dispositions import ReplayDisposition

    run = invocation(ctx)
    _decide(run, filters, ReplayDisposition.DISCARDED, actor_of(actor), reason, everything, yes=yes)


def park(
    ctx: typer.Context,
    *,
    reason: Reason = "",
    actor: Actor = None,
    everything: _Everything = False,
    yes: Yes = False,
    filters: Filters,
) -> None:
    """Set dead letters aside for manual review: copies go to the parking lot, TOPIC.dlq.parked.

    Plans exclude them; `dia dlq discard` may follow.

    Example: dia dlq park --topic model.metrics --tenant acme --reason "ticket 4711" """
    from streams.operate.replay.journal.dispositions import ReplayDisposition

    run = invocation(ctx)
    _decide(run, filters, ReplayDisposition.PARKED, actor_of(actor), reason, everything, yes=yes)


def _decide(
    run: Invocation,
    filters: Filters,
    disposition: ReplayDisposition,
    actor: str,
    reason: str,
    everything: bool,
    *,
    yes: bool,
) -> None:
    from streams.core.errors import UsageError
    from streams.operate.dlq.filters import Filters as Conditions

    if filters == Conditions() and not everything:
        raise UsageError(
            "which letters? Give a filter (--topic, --error, --tenant ...), or --all for every one."
        )
    printer = run.printer()
    spans, counted = asyncio.run(_count(run, filters))
    groups = counted.groups()
    if not groups:
        printer.say("no dead letters there.")
        return
    for group in groups:
        printer.say(f"  {group.names[0]}: {group.letters:,}")
    if not yes:
        letters = sum(group.letters for group in groups)
        consent(_question(disposition, letters))
    done = asyncio.run(_record(run, spans, filters, disposition, actor, reason))
    printer.record(
        {"disposition": disposition.word, "letters": done.disposed, "unchanged": done.unchanged}
    )
    if not done.shown:
        printer.warn(
            "ClickHouse lacks some of the rows; the next command on this partition inserts them."
        )


def _question(disposition: ReplayDisposition, letters: int) -> str:
    from streams.operate.replay.journal.dispositions import ReplayDisposition

    noun = "dead letter" if letters == 1 else "dead letters"
    if disposition is ReplayDisposition.DISCARDED:
        return f"Discard {letters:,} {noun}? They can never be replayed."
    return f"Park {letters:,} {noun}?"


async def _count(run: Invocation, filters: Filters) -> tuple[list[OffsetSpan], DeadLetterTally]:
    from streams.cli.dead_letters.reading import frozen, pages_of
    from streams.core.errors import UsageError
    from streams.operate.dlq.queues import queues
    from streams.operate.dlq.tally import DeadLetterTally

    tally = DeadLetterTally(("error",), 0)
    async with admin_and_reader(run.settings) as (admin, reader):
        for queue in await queues(admin, run.topology, filters.topics):
            if queue.topic not in run.topology.by_dlq:
                raise UsageError(
                    f"{queue.topic} is not a DLQ of dia, which keeps no journal for it. Its "
                    f"letters can be read and exported."
                )
        spans = await frozen(run, admin, reader, filters)
        async with aclosing(pages_of(run, reader, spans, filters)) as pages:
            async for page in pages:
                tally.add(page)
    return spans, tally


async def _record(
    run: Invocation,
    spans: list[OffsetSpan],
    filters: Filters,
    disposition: ReplayDisposition,
    actor: str,
    reason: str,
) -> Disposal:
    from streams.cli.clients import broker_of, shards_of
    from streams.cli.dead_letters.reading import pages_of
    from streams.core.clock import SystemClock
    from streams.core.errors import ProducerFenced, RefusedBySafety
    from streams.operate.replay.journal.control import Disposal, dispose

    total = Disposal()
    broker, shards = broker_of(run.settings), await shards_of(run.settings, run.app.topology)
    try:
        async with admin_and_reader(run.settings) as (_, reader):
            for topic, own in groupby(spans, key=lambda span: span.tp.topic):
                source = run.topology.by_dlq[topic]
                left = filters.limit
                if left is not None:
                    left -= total.disposed + total.unchanged
                    if left == 0:
                        break
                pages = pages_of(run, reader, [*own], replace(filters, limit=left))
                done = await dispose(
                    *(broker, shards, SystemClock(), run.topology, source),
                    *(pages, disposition, actor, reason),
                )
                total.disposed += done.disposed
                total.unchanged += done.unchanged
                total.shown = total.shown and done.shown
    except ProducerFenced as error:
        raise RefusedBySafety(
            "a replay, or another decision, took the partition over. What was decided until then "
            "is recorded; say it again once that is done: `dia replay status`."
        ) from error
    finally:
        if shards is not None:
            await shards.close()
    return total
