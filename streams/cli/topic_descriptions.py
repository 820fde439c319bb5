"""`dia topics list` and `dia topics describe`: topics as the broker has them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.invocation import Invocation, invocation
from streams.cli.watchable import watchable

if TYPE_CHECKING:
    from streams.operate.topics.topic_descriptions import DescribedPartition, ListedTopic
    from streams.operate.topics.topic_sheet import TopicSheet

_LISTED = ("topic", "kind", "partitions", "offsets", "retention", "replicas", "groups")
_LISTED_DETAIL = ("kind", "replicas", "groups")
_PARTITIONS = ("partition", "leader", "in_sync", "begin", "stable_end", "end", "replicas")
_PARTITIONS_DETAIL = ("end", "replicas")
_DAY_MS = 86_400_000
_UNITS = ((_DAY_MS, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms"))


def register(group: typer.Typer) -> None:
    group.command("list")(show_list)
    group.command("describe")(describe)


@watchable
def show_list(
    ctx: typer.Context,
    *,
    every: Annotated[
        bool, typer.Option("--all", help="Also topics that belong to no declaration of the app.")
    ] = False,
) -> None:
    """List topics with partitions, offsets held and retention.

    Offsets are end minus begin: transaction markers count as offsets. Retention is that set on the
    topic; empty where the broker's default applies.

    Example: dia topics list -o wide
    """
    run = invocation(ctx)
    rows = [_line(one) for one in asyncio.run(_listed(run, every=every))]
    run.printer().rows(_LISTED, rows, _LISTED_DETAIL)
    if not rows:
        run.printer().say("none of the app's topics exists yet: `dia topics apply` creates them.")


@watchable
def describe(
    ctx: typer.Context,
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="As `dia topics list` shows.")],
) -> None:
    """Describe a topic: settings against declared, partitions, groups with lag.

    stable_end is the last stable offset: readers of committed records stop there; end is that of open
    transactions.

    Example: dia topics describe model.metrics
    """
    run = invocation(ctx)
    sheet = asyncio.run(_sheet(run, topic))
    printer = run.printer()
    if run.json:
        printer.record(sheet.fields())
        return
    printer.rows(
        ("setting", "value", "declared", ""),
        [
            (*one, "differs" if one.declared and one.value != one.declared else "")
            for one in sheet.settings
        ],
    )
    print()
    printer.rows(_PARTITIONS, map(_partition, sheet.partitions), _PARTITIONS_DETAIL)
    lags = [
        (lag.group, one.tp.partition, lag.committed, lag.lag)
        for one in sheet.partitions
        for lag in one.groups
    ]
    if lags:
        print()
        printer.rows(("group", "partition", "committed", "lag"), lags)


async def _listed(run: Invocation, *, every: bool) -> list[ListedTopic]:
    from streams.cli.clients import admin_and_reader
    from streams.operate.topics.topic_descriptions import listed

    async with admin_and_reader(run.settings) as (admin, reader):
        return await listed(admin, reader, run.topology, every=every)


async def _sheet(run: Invocation, topic: str) -> TopicSheet:
    from streams.cli.clients import admin_and_reader
    from streams.operate.topics.topic_sheet import sheet_of

    async with admin_and_reader(run.settings) as (admin, reader):
        return await sheet_of(admin, reader, run.settings, run.topology, topic)


def _line(one: ListedTopic) -> tuple[Any, ...]:
    retention = None if one.retention_ms is None else _span(one.retention_ms)
    groups = " ".join(one.groups)
    return one.name, one.kind, one.partitions, one.offsets, retention, one.replication, groups


def _span(ms: int) -> str:
    if ms < 0:
        return "unlimited"
    size, unit = next((one for one in _UNITS if ms % one[0] == 0), _UNITS[-1])
    return f"{ms // size}{unit}"


def _partition(one: DescribedPartition) -> tuple[Any, ...]:
    where = one.replicas
    in_sync = f"{len(where.in_sync)} of {len(where.replicas)}"
    leader = "none" if where.leader < 0 else where.leader
    nodes = " ".join(map(str, where.replicas))
    bounds = (one.bounds.begin, one.bounds.stable_end, one.high_watermark)
    return one.tp.partition, leader, in_sync, *bounds, nodes
