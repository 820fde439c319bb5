"""`dia capacity`: what load is coming, and what it needs."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.command_group import command_group
from streams.cli.invocation import Invocation, invocation
from streams.cli.watchable import watchable
from streams.core.words.moments import iso_s

if TYPE_CHECKING:
    from streams.cli.terminal.output import Printer
    from streams.operate.capacity.forecast import Forecast, HeldOutDay
    from streams.operate.capacity.hourly_load import HourlyLoad
    from streams.operate.capacity.measured import MeasuredCosts
    from streams.operate.capacity.plan import CapacityPlan, ResourceNeed
    from streams.operate.capacity.prices import Prices

_HOURS_MAX = 24 * 14


def register(app: typer.Typer) -> None:
    group = command_group("What load is coming and what it needs, from the load history.")
    group.command("predict")(predict)
    group.command("test")(back_test)
    group.command("plan")(plan)
    app.add_typer(group, name="capacity")


Agent = Annotated[str, typer.Option(metavar="NAME", help="Of one agent; default: all.")]
Tenant = Annotated[str, typer.Option(metavar="NAME", help="Of one tenant; default: all.")]
Level = Annotated[
    float, typer.Option(min=0.5, max=0.99, help="Share of hours that the band is to hold.")
]


@watchable
def predict(
    ctx: typer.Context,
    *,
    hours: Annotated[int, typer.Option(min=1, max=_HOURS_MAX, help="From now on.")] = 24,
    agent: Agent = "",
    tenant: Tenant = "",
    level: Level = 0.9,
    worker_rate: Annotated[
        float | None,
        typer.Option(
            "--worker-rate", metavar="N", min=1, help="Events a second that one worker holds."
        ),
    ] = None,
    summary: Annotated[
        bool, typer.Option("--summary", help="One record in place of the hours.")
    ] = False,
) -> None:
    """Forecast the events a second of the next hours, with a band, and with --worker-rate the
    workers that they need.

    The forecast is of growth, hours of the day (from 3 days of history on) and days of the week
    (from 15 days on); the band comes from the errors on days that were held out. Needs the extra
    `capacity`. Exit code 6 with less than a day of history.

    Example: dia capacity predict --hours 24 --worker-rate 40000
    """
    from streams.operate.capacity.advice import workers_for
    from streams.operate.capacity.forecast import forecast

    run = invocation(ctx)
    load = _load(run, agent, tenant)
    passed = int((time.time() - load.end_s) // 3600)
    found = forecast(load.events, hours + passed, level)
    workers: Sequence[int | None] = [None] * (hours + passed)
    if worker_rate is not None:
        read = [one.source.partitions for one in run.app.agents.values() if agent in ("", one.name)]
        workers = workers_for(found.high, worker_rate, most=max(read, default=1)).tolist()
    printer = run.printer()
    _tell(printer, found, load)
    if summary:
        printer.record(_summary(found, load, passed))
        return
    columns = ("hour", "events_per_s", "low", "high", *(["workers"] if worker_rate else []))
    printer.rows(
        columns,
        [
            (
                iso_s(load.end_s + 3600 * at),
                *(round(float(line[at]) / 3600, 1) for line in (found.expected, found.low)),
                round(float(found.high[at]) / 3600, 1),
                *([workers[at]] if worker_rate else []),
            )
            for at in range(passed, hours + passed)
        ],
    )


def back_test(
    ctx: typer.Context,
    *,
    days: Annotated[int, typer.Option(min=1, max=60, help="Last whole days to hold out.")] = 7,
    agent: Agent = "",
    tenant: Tenant = "",
    level: Level = 0.9,
) -> None:
    """Forecast each of the last days from what was before it, and say the error, beside that of the
    same hours a week before.

    Errors are shares of the day's load. `inside` is the share of hours in the band.

    Example: dia capacity test --days 14
    """
    from streams.core.command_errors import HistoryTooShort
    from streams.operate.capacity.forecast import held_out_days

    run = invocation(ctx)
    load = _load(run, agent, tenant)
    found = held_out_days(load.events, level, days)
    if not found:
        raise HistoryTooShort(
            f"the history has {len(load.events)} whole hours of load; to hold a day out it needs 96."
        )
    printer = run.printer()
    printer.rows(
        ("day", "error", "same_hours_last_week", "inside"),
        [
            (iso_s(load.start_s + 3600 * one.first_hour), one.error, one.last_week, one.inside)
            for one in found
        ],
    )
    printer.say(_verdict(found))


def plan(
    ctx: typer.Context,
    *,
    growth: Annotated[
        str, typer.Option(metavar="10x|30%", help="At once, or for each month of the horizon.")
    ] = "1x",
    horizon: Annotated[str, typer.Option(metavar="SPAN", help="90d, 12w ...")] = "90d",
    days: Annotated[int, typer.Option(min=1, max=400, help="Measured days, the last ones.")] = 7,
    margin: Annotated[float, typer.Option(min=1, max=10, help="Over the busiest minutes.")] = 1.5,
    prices: Annotated[
        Path | None, typer.Option(metavar="FILE", help="TOML; see docs/capacity.md.")
    ] = None,
    helm: Annotated[bool, typer.Option("--helm", help="The chart's values in place.")] = False,
) -> None:
    """Say what a grown load needs: processes, partitions, memory, Kafka and disk, and when the
    partitions run out.

    All figures are this pipeline's own, of the last days: processor time and bytes of an event, the
    busiest five minutes, the memory of a process. Exit code 6 where the history has too few samples.

    Example: dia capacity plan --growth 10x --prices prices.toml
    """
    from streams.core.words.moments import span_s
    from streams.operate.capacity.measured import measured_costs
    from streams.operate.capacity.plan import Growth, capacity_plan
    from streams.operate.capacity.prices import Prices
    from streams.operate.topics.declared_topics import declared_topics

    run = invocation(ctx)
    grown, ahead_days = Growth.of(growth), span_s(horizon, "--horizon") / 86_400
    priced = None if prices is None else Prices.read(prices)
    declared = declared_topics(run.settings, run.topology)
    costs = asyncio.run(measured_costs(run.settings, time.time(), days))
    found = capacity_plan(
        costs,
        grown,
        ahead_days,
        {source.name: source.partitions for source in declared.topology.topics},
        declared.retention_s,
        margin,
    )
    printer = run.printer()
    if helm:
        # JSON is YAML, and Helm reads it.
        typer.echo(json.dumps(found.helm_values(declared.partitions), indent=2))
        return
    cost = [] if priced is None else [_month(found, costs, priced)]
    columns = ("resource", "now", "at_the_horizon", "have", "days_left")
    printer.rows(
        columns,
        [
            (
                one.resource,
                _rounded(one.now),
                _rounded(one.needed),
                _rounded(one.have),
                _rounded(one.days_left),
            )
            for one in (*found.needs, *cost)
        ],
    )
    printer.say(
        f"measured over {costs.days:.1f} days and {costs.events} events: {costs.cpu_s_per_event * 1e6:.1f} "
        f"µs of processor time an event; planned for {margin:g} times the busiest five minutes."
    )
    printer.say(
        f"ClickHouse: {found.tier.shards} shards of {found.tier.replicas} replicas (`dia shards size`)."
    )
    if priced is not None:
        _tell_saving(printer, costs.processes - found.processes_now, costs, priced)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _month(found: CapacityPlan, costs: MeasuredCosts, prices: Prices) -> ResourceNeed:
    from streams.operate.capacity.plan import ResourceNeed

    have, now, then = (
        prices.of_processes(count, costs.memory_bytes)
        for count in (costs.processes, found.processes_now, found.processes)
    )
    name = f"workers a month, {prices.currency}".rstrip(", ")
    return ResourceNeed(name, now, then, have, None)


def _tell_saving(printer: Printer, fewer: int, costs: MeasuredCosts, prices: Prices) -> None:
    if fewer > 0:
        month = prices.of_processes(fewer, costs.memory_bytes)
        saved = f"{month:.0f} {prices.currency}".rstrip()
        printer.say(f"{fewer} processes fewer would do, and save {saved} a month.")


def _load(run: Invocation, agent: str, tenant: str) -> HourlyLoad:
    from streams.operate.capacity.hourly_load import hourly_load

    load = asyncio.run(hourly_load(run.settings, time.time(), agent, tenant))
    if load.unnamed:
        run.printer().warn(
            f"the history names no tenant for {load.unnamed:.1%} of the events, and some of them may be "
            f"of {tenant}: its load may be higher than what follows."
        )
    return load


def _tell(printer: Printer, found: Forecast, load: HourlyLoad) -> None:
    seasons = {
        "none": "the mean: hours of the day show from 72 hours on",
        "daily": "hours of the day; days of the week show from 360 hours on",
        "weekly": "growth, hours of the day and days of the week",
    }[found.seasons]
    printer.say(f"{len(load.events)} hours of history show {seasons}.")
    if found.tested_days:
        printer.say(
            f"the band is to hold {found.level:.0%} of the hours, from the errors on "
            f"{found.tested_days} held-out days; `dia capacity test` lists them."
        )
    else:
        printer.warn("no day could be held out: the band is a guess, a factor of two each way.")


def _summary(found: Forecast, load: HourlyLoad, passed: int) -> dict[str, Any]:
    """``high_per_s``: the top of the band in each hour."""
    expected, high = found.expected[passed:], found.high[passed:]
    begin_s = load.end_s + 3600 * passed
    return {
        "from": iso_s(begin_s),
        "from_ms": 1000 * begin_s,
        "busiest_per_s": round(float(expected.max()) / 3600, 1),
        "busiest_high_per_s": round(float(high.max()) / 3600, 1),
        "high_per_s": [round(one, 1) for one in (high / 3600).tolist()],
        "seasons": found.seasons,
        "tested_days": found.tested_days,
        "history_hours": len(load.events),
    }


def _verdict(found: Sequence[HeldOutDay]) -> str:
    pairs = [
        (one.error, one.last_week)
        for one in found
        if one.error is not None and one.last_week is not None
    ]
    if not pairs:
        return "no day has a week before it, so nothing is compared."
    ours, last_week = (sum(column) / len(pairs) for column in zip(*pairs, strict=True))
    word = "beats" if ours < last_week else "does not beat"
    return (
        f"the forecast {word} the same hours of last week: mean error {ours:.1%}, that of last week "
        f"{last_week:.1%}, over {len(pairs)} days."
    )
