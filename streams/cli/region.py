"""`dia region`: which region is active, and how another one becomes it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.command_group import command_group
from streams.cli.invocation import Invocation, invocation
from streams.cli.terminal.operator import Actor, Reason, Yes, actor_of, consent
from streams.cli.watchable import watchable

if TYPE_CHECKING:
    from streams.operate.regions.declared import Regions
    from streams.operate.regions.failover import Switch
    from streams.operate.regions.mirrored import Unmirrored
    from streams.operate.regions.status import RegionStatus

_EXPIRED_TIMEOUT_S = 15.0
_To = Annotated[str, typer.Option("--to", metavar="REGION", help="The region that becomes active.")]
_MirrorWait = Annotated[
    float, typer.Option(metavar="S", min=0, help="Longest wait for the mirror, seconds.")
]
_FoldWait = Annotated[
    float, typer.Option(metavar="S", min=0, help="Longest wait for its workers, seconds.")
]


def register(app: typer.Typer) -> None:
    group = command_group("Regions: which one is active, and how another becomes it.")
    group.command("status")(status)
    group.command("init")(init)
    group.command("failover")(failover)
    group.command("failback")(failback)
    group.command("mirror")(mirror)
    app.add_typer(group, name="region")


@watchable
def status(ctx: typer.Context) -> None:
    """Show each region's word, the records that its mirror has not copied yet, and its edges.

    Exit code 3 when the words differ or a region does not answer, 6 before `dia region init`.

    Example: dia region status
    """
    from streams.core.clock import SystemClock
    from streams.core.command_errors import NotFoundThere
    from streams.core.errors import PartialResult
    from streams.operate.regions.declared import require_regions
    from streams.operate.regions.status import statuses
    from streams.operate.regions.word import newest_of

    run = invocation(ctx)
    regions = require_regions(run.settings)
    brokers = regions.brokers(run.settings)
    found = asyncio.run(
        statuses(regions.every, brokers, run.topology, SystemClock(), regions.lease_s)
    )
    run.printer().rows(
        (
            "region",
            "here",
            "cluster",
            "active",
            "epoch",
            "unmirrored",
            "oldest_s",
            "edges",
            "since",
            "by",
        ),
        [_row(one, regions.own) for one in found],
        ("since", "by"),
    )
    newest = newest_of(one.word for one in found)
    if newest is None:
        raise NotFoundThere("no region was ever made active. `dia region init --active REGION`.")
    odd = [one.name for one in found if one.word is None or one.word.rank != newest.rank]
    if odd:
        raise PartialResult(
            f"{newest.active} is active in epoch {newest.epoch}, and {', '.join(odd)} does not say "
            f"so. `dia region failover --to {newest.active}` tells every region that answers."
        )


def _row(one: RegionStatus, own: str) -> tuple[object, ...]:
    from datetime import UTC, datetime

    word = one.word
    edges = {True: "serves", False: "refuses", None: "away"}
    return (
        one.name,
        one.name == own,
        "answers" if one.reachable else "away",
        word.active if word else None,
        word.epoch if word else None,
        one.missing_records,
        None if one.missing_s is None else round(one.missing_s, 1),
        ", ".join(f"{url} {edges[serves]}" for url, serves in one.edges.items()),
        datetime.fromtimestamp(word.at_ms / 1000, UTC) if word else None,
        word.actor if word else None,
    )


def init(
    ctx: typer.Context,
    *,
    active: Annotated[str, typer.Option(metavar="REGION", help="The region that serves.")],
    actor: Actor = None,
) -> None:
    """Create the journal of the active region in every region's cluster, and write the first word.

    Until then the edges of all regions refuse. Running it again is harmless. Exit code 4 when a
    cluster does not answer, 5 when another region is active already.

    Example: dia region init --active east
    """
    from streams.operate.regions.declared import require_regions

    run = invocation(ctx)
    require_regions(run.settings).region(active)
    asyncio.run(_begin(run, active, actor_of(actor)))
    run.printer().say(f"{active} is active in epoch 1.")


async def _begin(run: Invocation, active: str, actor: str) -> None:
    from streams.connect.broker.opened import opened
    from streams.core.clock import SystemClock
    from streams.operate.regions.declared import require_regions
    from streams.operate.regions.failover import RegionSwitch
    from streams.operate.regions.word import journal_topic

    regions = require_regions(run.settings)
    brokers = regions.brokers(run.settings)
    for broker in brokers.values():
        async with opened(broker.admin()) as admin:
            await admin.create_topics([journal_topic(run.topology.app)])
    switch = RegionSwitch(brokers, run.topology, SystemClock(), regions.lease_s)
    await switch.begin(active, actor)


def failover(
    ctx: typer.Context,
    *,
    to: _To,
    without_old: Annotated[
        bool,
        typer.Option("--without-old", help="The old region's cluster is lost, or its mirror."),
    ] = False,
    mirror_wait_s: _MirrorWait = 300.0,
    fold_wait_s: _FoldWait = 600.0,
    actor: Actor = None,
    reason: Reason = "",
    yes: Yes = False,
) -> None:
    """Make another region active: fence the old one's edges, wait for the mirror and for the fold of
    what it copied, then let the new one's edges serve.

    With --without-old, records that the mirror had not taken are listed by topic, partition and
    offset; they come when the old cluster is back. A command that died is run again. Exit code 3
    when the mirror or the workers did not come to their end in time, 4 when a cluster does not
    answer, 5 when another change came first.

    Example: dia region failover --to west
    """
    from streams.operate.regions.failover import Switch

    order = Switch(
        target=to,
        actor=actor_of(actor),
        reason=reason,
        without_old=without_old,
        mirror_timeout_s=mirror_wait_s,
        fold_timeout_s=fold_wait_s,
    )
    _switch(ctx, order, yes=yes)


def failback(
    ctx: typer.Context,
    *,
    to: _To,
    mirror_wait_s: _MirrorWait = 300.0,
    fold_wait_s: _FoldWait = 600.0,
    actor: Actor = None,
    reason: Reason = "",
    yes: Yes = False,
) -> None:
    """Make a region active again that was lost: a failover that loses nothing.

    Both clusters have to answer, and both mirrors to come to their end. Exit codes as of `dia
    region failover`.

    Example: dia region failback --to east
    """
    from streams.operate.regions.failover import Switch

    order = Switch(
        target=to,
        actor=actor_of(actor),
        reason=reason,
        back=True,
        mirror_timeout_s=mirror_wait_s,
        fold_timeout_s=fold_wait_s,
    )
    _switch(ctx, order, yes=yes)


def _switch(ctx: typer.Context, order: Switch, *, yes: bool) -> None:
    from streams.core.clock import SystemClock
    from streams.operate.regions.declared import require_regions
    from streams.operate.regions.failover import RegionSwitch

    run = invocation(ctx)
    regions = require_regions(run.settings)
    regions.region(order.target)
    if not yes:
        consent(f"Make {order.target} the active region? No region serves until it is done.")
    printer = run.printer()
    switch = RegionSwitch(
        regions.brokers(run.settings),
        run.topology,
        SystemClock(),
        regions.lease_s,
        printer.say,
    )
    done = asyncio.run(switch.run(order))
    for missing in done.missing:
        until = "its end" if missing.until is None else f"offset {missing.until}"
        what = "not here yet" if missing.comes else "expired before the mirror read them"
        printer.warn(
            f"{what}: {missing.tp} of {missing.region}, from offset {missing.first} to {until}"
        )
    printer.record(
        {
            "epoch": done.epoch,
            "before": done.before,
            "active": done.active,
            "unmirrored": [
                {"region": one.region, **unmirrored_row(one), "gone": one.gone}
                for one in done.missing
            ],
            "lease_s": round(done.lease_s, 1),
            "mirror_s": round(done.mirror_s, 1),
            "fold_s": round(done.fold_s, 1),
            "total_s": round(done.total_s, 1),
        }
    )


def unmirrored_row(one: Unmirrored) -> dict[str, Any]:
    return {
        "topic": one.tp.topic,
        "partition": one.tp.partition,
        "first": one.first,
        "until": one.until,
        "records": one.records,
    }


async def _name_expired(run: Invocation, regions: Regions) -> None:
    from streams.core.clock import SystemClock
    from streams.core.errors import DiaError
    from streams.core.resilience.deadline import Deadline, DeadlinePassed
    from streams.operate.regions.mirrored import expired

    brokers, printer = regions.brokers(run.settings), run.printer()
    for name in regions.others:
        asking = expired(brokers[name], brokers[regions.own], run.topology, name)
        try:
            found = await Deadline(SystemClock(), _EXPIRED_TIMEOUT_S).wait(asking)
        except (DiaError, DeadlinePassed):
            printer.warn(f"{name} does not answer, so what expired there uncopied is unknown.")
            continue
        for one in found:
            printer.warn(
                f"{name} deleted offsets {one.first} to {one.first + one.gone - 1} of {one.tp} before a "
                f"mirror read them: {regions.own} never has those that clients sent there."
            )


def mirror(
    ctx: typer.Context,
    *,
    show: Annotated[
        bool, typer.Option("--print", help="Print MirrorMaker's properties; run nothing.")
    ] = False,
) -> None:
    """Copy the sources of every other region into this one with MirrorMaker 2, until SIGTERM.

    Its jars are fetched once (11 MiB); its log is HOME/mirror/mirror.log. With --print, properties
    for a MirrorMaker of your own. Clusters that need credentials take them there. Records that
    retention deleted while no mirror ran are listed first: this region never has them.

    Example: dia region mirror
    """
    from streams.core.errors import UsageError
    from streams.operate.regions.declared import require_regions
    from streams.operate.regions.mirror_maker import mirror_properties
    from streams.operate.regions.mirrored import mirrored_topics
    from streams.operate.topics.declared_topics import declared_topics

    run = invocation(ctx)
    regions = require_regions(run.settings)
    declared = declared_topics(run.settings, run.topology).topology
    largest = max((topic.message_bytes for topic in declared.consumed()), default=1 << 20)
    properties = mirror_properties(regions, mirrored_topics(declared), largest + (1 << 16))
    if show:
        for name, value in properties.items():
            print(f"{name}={value}")
        return
    if run.settings.kafka_security_protocol != "PLAINTEXT":
        raise UsageError(
            "this mirror has no credentials. Run a MirrorMaker of your own with the properties of "
            "`dia region mirror --print`, and each cluster's security beside them."
        )
    from streams.dev.local import mirror as local

    asyncio.run(_name_expired(run, regions))
    argv = local.command(run.settings.home_path(), properties, run.printer().say)
    run.printer().say(f"MirrorMaker copies {', '.join(regions.others)} to {regions.own}")
    local.become(run.settings.home_path(), argv)
