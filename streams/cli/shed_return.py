"""`dia shed return`: restores shed records while the log has them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from streams.cli.invocation import invocation
from streams.cli.terminal.operator import Yes, consent
from streams.connect.broker.opened import opened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.cli.invocation import Invocation
    from streams.cli.terminal.output import ProgressCount
    from streams.core.types import Broker
    from streams.operate.replay.shed_return import Returned, ShedSpan

_COLUMNS = ("order", "topic", "partition", "from", "to", "returned_to", "copied", "gone")


class _Standing(NamedTuple):
    """A range, its progress, and the start of the log."""

    span: ShedSpan
    at: int
    begin: int

    @property
    def left(self) -> int:
        """Offsets that can still be restored."""
        return max(0, self.span.until - max(self.at, self.begin))


def bring_back(
    ctx: typer.Context,
    *,
    order: Annotated[str, typer.Option(metavar="ID", help="As `dia shed list` shows.")],
    rate: Annotated[
        float | None,
        typer.Option(metavar="N", min=0.1, help="Records a second, over all partitions."),
    ] = None,
    yes: Yes = False,
) -> None:
    """Send shed records again, behind the newest records of their partition.

    Each record once, despite crashes: running it again continues. They count like late events, by
    their first append time. Exit code 5 when the log has none of the order, when the order is too
    old to tell whether it was returned, or without consent; 3 when a part was deleted.

    Example: dia shed return --order 19a4f3c2b1d-7f3a --rate 5000"""
    from streams.core.errors import PartialResult, RefusedBySafety

    run = invocation(ctx)
    printer = run.printer()
    standing = [one for one in asyncio.run(_look(run, order)) if one.left]
    if not standing:
        raise RefusedBySafety(
            f"nothing that order {order} had skipped can be brought back: it is back already, the "
            f"log has lost it, the partition was reset since, or there is no such order."
        )
    for one in standing:
        last = one.span.until - 1
        printer.say(f"{one.span.tp}: offsets {max(one.at, one.begin)} to {last}, {one.left:,}")
    if not yes:
        consent("Send them again?")
    with printer.progress("bringing back", sum(one.left for one in standing), "records") as bar:
        told = asyncio.run(_bring_back(run, [one.span for one in standing], rate, bar))
    printer.rows(
        _COLUMNS,
        [_row(one.span, found) for one, found in zip(standing, told, strict=True)],
        ("from", "to"),
    )
    if gone := sum(found.gone for found in told):
        raise PartialResult(f"{gone:,} offsets were gone from the log: nothing brings them back.")


def _row(span: ShedSpan, found: Returned) -> tuple[Any, ...]:
    return (span.order, *span.tp, span.first, span.until, found.at, found.copied, found.gone)


async def _look(run: Invocation, order: str) -> list[_Standing]:
    """Ranges of the order in the current log."""
    from streams.cli.clients import broker_of
    from streams.core.clock import SystemClock
    from streams.operate.replay.shed_return import returned_up_to

    broker = broker_of(run.settings)
    found = []
    for span in await _spans(run, broker, order):
        async with opened(broker.reader()) as reader:
            begin = await reader.beginning_offset(span.tp)
        found.append(_Standing(span, await returned_up_to(broker, SystemClock(), span), begin))
    return found


async def _spans(run: Invocation, broker: Broker, order: str) -> list[ShedSpan]:
    from streams.core.types import TopicPartition
    from streams.engine.runtime.offsets.commit_mark import epoch_of
    from streams.operate.audit.shards import Shards
    from streams.operate.replay.shed_return import ShedSpan
    from streams.operate.shed.shed_admin import sheddables

    shards, admin = Shards(run.settings), await broker.admin()
    spans = []
    try:
        for agent in sheddables(tuple(run.app.agents.values())):
            for one in await shards.shed(agent.group, agent.source.name):
                tp = TopicPartition(agent.source.name, one.partition)
                committed = await admin.committed(agent.group, [tp])
                if one.order == order and one.epoch == epoch_of(committed.get(tp)):
                    spans.append(
                        ShedSpan(
                            order=order,
                            tp=tp,
                            first=one.first,
                            until=one.until,
                            at_ms=one.at_ms,
                        )
                    )
    finally:
        await admin.close()
        shards.close()
    return spans


async def _bring_back(
    run: Invocation, spans: Sequence[ShedSpan], rate: float | None, bar: ProgressCount
) -> list[Returned]:
    from streams.cli.clients import broker_of
    from streams.core.clock import SystemClock
    from streams.operate.replay.run.pace import ReplayPace
    from streams.operate.replay.shed_return import bring_back

    broker, clock = broker_of(run.settings), SystemClock()
    pace = ReplayPace(clock, rate)
    return [await bring_back(broker, clock, span, pace, bar.advance) for span in spans]
