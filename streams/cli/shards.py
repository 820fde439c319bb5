"""`dia shards`: the shard maps, one more shard or one less, plans of moves, and how many shards a load
needs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.command_group import command_group
from streams.cli.invocation import invocation
from streams.cli.shard_moves import register_moves
from streams.cli.terminal.operator import Yes, consent
from streams.cli.watchable import watchable

if TYPE_CHECKING:
    from streams.connect.sinks.map_record import RecordedMap
    from streams.connect.sinks.shard_maps import KnownMaps
    from streams.core.settings import Settings
    from streams.operate.shards.growth import GrowthPlan

_SAMPLE = 20_000
_SERIES = (
    "SELECT DISTINCT tenant, model, metric FROM m1_local "
    "WHERE w >= now() - INTERVAL 1 DAY LIMIT {limit:UInt32}"
)


def register(app: typer.Typer) -> None:
    group = command_group("Shard maps: which shard has which windows.")
    group.command("list")(show)
    plans = command_group("Plan another map; change nothing.")
    plans.command("add")(plan_add)
    plans.command("remove")(plan_remove)
    plans.command("move")(plan_move)
    group.add_typer(plans, name="plan")
    group.command("apply")(apply_plan)
    group.command("withdraw")(withdraw)
    group.command("size")(size)
    register_moves(group)
    app.add_typer(group, name="shards")


@watchable
def show(ctx: typer.Context) -> None:
    """List the shard maps that the servers record.

    Example: dia shards list
    """
    run = invocation(ctx)
    known = _known(run.settings)
    printer = run.printer()
    printer.rows(
        ("map", "from", "shards", "placement", "digest", "state"),
        [
            (
                one.record.version,
                one.record.day,
                one.record.shards,
                one.record.identity.description,
                one.record.identity.digest,
                _state(one),
            )
            for one in known.maps
        ],
        ("placement", "digest"),
    )
    if not known.recorded:
        printer.warn("no server answered with a record: this is the map of the settings.")


def _state(one: RecordedMap) -> str:
    if not one.in_force:
        return "announced"
    if one.record.last_day is None:
        return "in force"
    days = len(one.record.days)
    returned = len(one.dated().returned)
    stay = f", {returned} stay" if returned else ""
    return f"moved {days - len(one.unfinished) - returned} of {days} days{stay}"


def plan_add(
    ctx: typer.Context,
    urls: Annotated[
        list[str], typer.Argument(metavar="URL...", help="One a shard; replicas as URL|URL.")
    ],
    *,
    first: Annotated[
        str | None,
        typer.Option("--from", metavar="DAY", help="First UTC day of windows; tomorrow or later."),
    ] = None,
    weight: Annotated[
        int, typer.Option(min=1, max=64, help="Share of series beside the weights of the others.")
    ] = 1,
    strategy: Annotated[
        str, typer.Option("--sharding", metavar="S", help="As DIA_SHARDING; default: as now.")
    ] = "",
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the plan is written.")] = Path(
        "shards.plan.json"
    ),
) -> None:
    """Plan a map with more shards: what changes, and what it costs.

    Example: dia shards plan add http://ch-3:8123 --from 2027-01-15
    """
    from streams.operate.shards import growth

    run = invocation(ctx)
    known = _known(run.settings)
    day = _day(first) if first is not None else growth.tomorrow()
    groups = replace(run.settings, clickhouse_shards=",".join(urls)).shards()
    plan = growth.planned(run.settings, known, groups, day, weight=weight, strategy=strategy)
    growth.write_plan(out, plan)
    _print(ctx, known, plan)
    run.printer().say(f"written to {out}. `dia shards apply {out}` makes it true.")


def plan_remove(
    ctx: typer.Context,
    shard: Annotated[int, typer.Argument(metavar="SHARD", min=0, help="Its number.")],
    *,
    first: Annotated[
        str | None,
        typer.Option("--from", metavar="DAY", help="First UTC day without it; tomorrow or later."),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the plan is written.")] = Path(
        "shards.plan.json"
    ),
) -> None:
    """Plan a map that puts no new windows on a shard.

    Its stored windows stay: move minutes, hours and days with `dia shards plan move --drain`. Facts stay.

    Example: dia shards plan remove 0 --from 2027-01-15
    """
    from streams.operate.shards import growth
    from streams.operate.shards.move_plan import planned_removal

    known = _known(invocation(ctx).settings)
    day = _day(first) if first is not None else growth.tomorrow()
    plan = planned_removal(known, shard, day)
    growth.write_plan(out, plan)
    _print(ctx, known, plan)
    invocation(ctx).printer().say(f"written to {out}. `dia shards apply {out}` makes it true.")


def plan_move(
    ctx: typer.Context,
    *,
    days: Annotated[
        str, typer.Option(metavar="DAY..DAY", help="First and last UTC day of the windows.")
    ],
    drain: Annotated[
        list[int] | None, typer.Option(metavar="SHARD", help="Leave no windows on it.")
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the plan is written.")] = Path(
        "shards.plan.json"
    ),
) -> None:
    """Plan to move the stored windows of days to where the newest map puts their series.

    With --drain, series of that shard go to the others. Exit code 5 for days that cannot move.

    Example: dia shards plan move --days 2027-01-03..2027-01-09 --drain 0
    """
    from streams.operate.shards import growth
    from streams.operate.shards.move_plan import planned_move

    run = invocation(ctx)
    first, _, last = days.partition("..")
    known = _known(run.settings)
    plan = planned_move(run.settings, known, _day(first), _day(last or first), drain or ())
    growth.write_plan(out, plan)
    run.printer().say(
        f"map {plan.record.version} moves {plan.record.day} to "
        f"{plan.record.shard_map.identity.description}. Written to {out}. `dia shards apply {out}`, "
        f"then `dia shards move {plan.record.version}`."
    )


def _print(ctx: typer.Context, known: KnownMaps, plan: GrowthPlan) -> None:
    from streams.operate.shards.growth import shares

    run = invocation(ctx)
    before, record = known.newest.record, plan.record
    found = shares(plan, before.shard_map, _series(run.settings, known))
    printer = run.printer()
    printer.rows(
        ("shard", "address", "series now", "series then"),
        [
            (shard, "|".join(record.urls[shard]), f"{now:.1%}", f"{then:.1%}")
            for shard, (now, then) in enumerate(found)
        ],
    )
    printer.say(
        f"map {record.version}, {record.shard_map.identity.description}, places windows from "
        f"{record.day} on. Windows of earlier days, late ones too, and facts stay where they are: "
        "no row moves. A question about a series that changes its shard asks both shards, as long "
        f"as both have days of it; each view of a server reads {record.shards - 1} others."
    )


def apply_plan(
    ctx: typer.Context,
    plan: Annotated[Path, typer.Argument(metavar="PLAN", help="A file of `dia shards plan`.")],
    *,
    yes: Yes = False,
) -> None:
    """Make a planned map true: prepare the new servers, announce the map to all, put it in force.

    Run it again after a failure: it goes on. Workers take the map by themselves within seconds.
    Exit code 4 when a server does not answer, 5 when the servers record another map meanwhile.

    Example: dia shards apply shards.plan.json
    """
    from streams.connect.coordination.exclusive import exclusively
    from streams.operate.shards import growth

    run = invocation(ctx)
    read, printer = growth.read_plan(plan), run.printer()
    if not yes:
        consent(
            f"Place windows from {read.record.day} on by "
            f"{read.record.shard_map.identity.description}? A map in force cannot be taken back."
        )

    def work(check: Callable[[], None]) -> bool:
        return growth.apply(run.settings, run.app.clickhouse_tables, read, check, printer.say)

    if not asyncio.run(exclusively(run.settings, "migrations", work)):
        printer.say(f"map {read.record.version} is in force already.")


def withdraw(ctx: typer.Context, *, yes: Yes = False) -> None:
    """Take back the newest map while it is announced and not in force.

    Nothing was placed by it. The servers of its shard keep their tables and their claim, and can be
    planned again. Exit code 5 when no map is announced, or it is in force somewhere.

    Example: dia shards withdraw
    """
    from streams.connect.coordination.exclusive import exclusively
    from streams.operate.shards import growth

    run = invocation(ctx)
    if not yes:
        consent("Withdraw the map that is announced?")

    def work(check: Callable[[], None]) -> None:
        growth.withdraw(run.settings, run.app.clickhouse_tables, check, run.printer().say)

    asyncio.run(exclusively(run.settings, "migrations", work))


def size(
    ctx: typer.Context,
    *,
    per_day: Annotated[
        int, typer.Option("--per-day", metavar="N", min=1, help="Events of a day at its busiest.")
    ],
) -> None:
    """Say how many shards and replicas a load needs, and which the installation has.

    Example: dia shards size --per-day 250000000
    """
    from streams.operate.shards.tiers import TIERS, tier_of

    run = invocation(ctx)
    known, wanted = _known(run.settings), tier_of(per_day)
    shards, replicas = len(known.urls), min(map(len, known.urls))
    printer = run.printer()
    printer.rows(
        ("events per day below", "shards", "replicas", "cpus", "memory_gb", "disk_tb", "this load"),
        [
            (
                one.below_per_day,
                *(one.shards, one.replicas, one.cpus, one.memory_gb, one.disk_tb),
                one is wanted,
            )
            for one in TIERS
        ],
    )
    printer.say(f"known are {shards} shards, the smallest with {replicas} replicas.")
    if shards < wanted.shards:
        missing = wanted.shards - shards
        printer.say(f"`dia shards plan add` with {missing} more addresses plans the others.")


def _day(text: str) -> date:
    from streams.core.errors import UsageError

    try:
        return date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text} is not a day such as 2027-01-15.") from None


def _known(settings: Settings) -> KnownMaps:
    from streams.connect.sinks.clickhouse import require_shards
    from streams.connect.sinks.shard_maps import told

    require_shards(settings)
    return told(settings)


def _series(settings: Settings, known: KnownMaps) -> list[tuple[str, str, str]]:
    """Series of the last day; made-up ones where there are none."""
    from streams.connect.sinks.clickhouse import reading_groups
    from streams.connect.sinks.replica import StatementRefused
    from streams.core.errors import TransientError

    found: list[tuple[str, str, str]] = []
    for group in reading_groups(settings, known):
        try:
            rows = group.ask(lambda one: one.query(_SERIES, {"limit": _SAMPLE})[1])
        except (TransientError, StatementRefused):
            continue
        finally:
            group.close()
        found += [(str(tenant), str(model), str(metric)) for tenant, model, metric in rows]
    return found or [(f"tenant {n % 100}", f"model {n}", "x") for n in range(_SAMPLE)]
