"""`dia replay plan`: shows and writes what a replay would do."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from streams.cli.invocation import invocation
from streams.cli.terminal.operator import Actor, actor_of

if TYPE_CHECKING:
    from streams.cli.invocation import Invocation
    from streams.core.topics.topic import Topic
    from streams.core.topics.topology import Topology
    from streams.operate.dlq.filters import Filters
    from streams.operate.replay.plan.plan import Terms
    from streams.operate.replay.plan.planner import Draft


def plan(
    ctx: typer.Context,
    *,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Default: replay-PLAN.json, here.")
    ] = None,
    to: Annotated[
        str | None, typer.Option(metavar="TOPIC", help="A declared topic, instead of the source.")
    ] = None,
    transform: Annotated[
        str | None, typer.Option(metavar="NAME", help="Repairs each record; see below.")
    ] = None,
    patch: Annotated[
        str | None, typer.Option(metavar="JSON", help="JSON Patch (RFC 6902) of values, or @FILE.")
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Header to keep; * for all. Repeatable."),
    ] = None,
    on_failure: Annotated[
        Literal["stop", "skip", "park"],
        typer.Option(help="Action for dead letters that still fail."),
    ] = "skip",
    max_hops: Annotated[
        int, typer.Option(min=1, max=100, metavar="N", help="Replays before a letter is parked.")
    ] = 3,
    actor: Actor = None,
    filters: Filters,
) -> None:
    """Show what a replay would do with which dead letters, and write the plan. Produces nothing.

    It freezes the ends of the DLQ, repairs and validates every selected dead letter with the
    current code, and lists by offset those that will be replayed or parked. A transform is a
    function (Original) -> Original | None; the record has key, value, headers. It is an entry point
    of the group dia.transforms of an installed distribution, or tenant-as-key.

    Example: dia replay plan --topic model.metrics --error wrong_type --since 6h

    Example: dia replay plan --topic model.metrics --patch '[{"op": "move", "from": "/name", "path":
    "/metric"}]' --on-failure park --out fix.json"""
    from streams.cli.replay.report import show_draft
    from streams.operate.replay.plan import plan as plans

    invoked = invocation(ctx)
    source = _source(invoked.topology, filters)
    terms = _terms(invoked.topology, to, transform, patch, header, on_failure, max_hops)
    draft = asyncio.run(_draft(invoked, source, filters, terms, actor_of(actor), ctx))
    if draft.plan.selections:
        path = out or Path(f"replay-{draft.plan.id}.json")
        plans.write(draft.plan, path)
        show_draft(invoked, draft, path)
    else:
        show_draft(invoked, draft, None)


def _source(topology: Topology, filters: Filters) -> Topic:
    from streams.core.errors import UsageError

    by_name = {name: s for s in topology.topics for name in (s.name, s.dlq)}
    named = [by_name.get(name) for name in filters.topics]
    if len(named) == 1 and named[0] is not None:
        return named[0]
    known = topology.names
    what = "no topic is named" if not named else f"{', '.join(filters.topics)} has no DLQ of dia's"
    raise UsageError(f"{what}: a plan is of one source topic. Write --topic with one of {known}.")


def _terms(
    topology: Topology,
    to: str | None,
    transform: str | None,
    patch: str | None,
    header: list[str] | None,
    on_failure: Literal["stop", "skip", "park"],
    max_hops: int,
) -> Terms:
    from streams.core.errors import RefusedBySafety
    from streams.operate.replay.plan.plan import KEPT_HEADERS, Terms
    from streams.operate.replay.plan.repair import patch_of
    from streams.operate.replay.plan.transforms import transform_of

    if to is not None and to not in topology.by_name:
        raise RefusedBySafety(
            f"--to {to}: records are replayed only to topics that are declared: {topology.names}."
        )
    return Terms(
        target=to,
        headers=tuple(header) if header else KEPT_HEADERS,
        transform=transform_of(transform) if transform is not None else None,
        patch=patch_of(patch) if patch is not None else (),
        on_failure=on_failure,
        hops_max=max_hops,
    )


async def _draft(
    invoked: Invocation,
    source: Topic,
    filters: Filters,
    terms: Terms,
    actor: str,
    ctx: typer.Context,
) -> Draft:
    from streams.cli.clients import broker_of
    from streams.core.clock import SystemClock
    from streams.operate.replay.plan.planner import PlanRequest, make_plan

    clock = SystemClock()
    request = PlanRequest(
        source=source,
        # The topic selects the DLQ; its dead letters may come from other topics.
        filters=replace(filters, topics=()),
        terms=terms,
        id=f"{clock.now_ms():x}-{secrets.token_hex(2)}",
        actor=actor,
        asked=_asked(ctx),
    )
    with invoked.printer().progress(f"reading {source.dlq}", unit="offsets") as bar:
        return await make_plan(
            broker_of(invoked.settings),
            clock,
            invoked.settings,
            invoked.topology,
            request,
            lambda at, end: bar.update(completed=at, total=end),
        )


def _asked(ctx: typer.Context) -> dict[str, Any]:
    """The given options, for later readers of the plan."""
    return {
        name: [str(item) for item in value] if isinstance(value, list | tuple) else str(value)
        for name, value in ctx.params.items()
        if value not in (None, (), [], False) and name not in ("out", "actor")
    }
