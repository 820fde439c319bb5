"""`dia topics`: the topics the pipeline wants, against those the broker has."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.invocation import Invocation, invocation

if TYPE_CHECKING:
    from streams.topics import Plan

_COLUMNS = ("topic", "change", "setting", "now", "wanted")

_Replication = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Replicas of new topics; default: the broker's."),
]


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Plan and apply the topics of the pipeline.")
    group.command("plan")(show_plan)
    group.command("apply")(apply_plan)
    group.command("render")(render)
    app.add_typer(group, name="topics")


def show_plan(ctx: typer.Context, *, replication_factor: _Replication = None) -> None:
    """Name every difference between the topology and the broker; change nothing.

    Exit code 5 when `dia topics apply` would refuse.
    """
    from streams.errors import RefusedBySafety

    run = invocation(ctx)
    planned = asyncio.run(_run(run, replication_factor))
    _print(run, planned)
    if planned.refused:
        named = ", ".join(sorted({change.topic for change in planned.refused}))
        raise RefusedBySafety(
            f"`dia topics apply` will refuse: {named} would become smaller. Declare at least "
            "what exists, or lower it with Kafka's own tools."
        )


def apply_plan(
    ctx: typer.Context,
    *,
    accept_dedupe_gap: Annotated[
        bool,
        typer.Option(
            "--accept-dedupe-gap",
            help="Grow a source although duplicates across the change count twice.",
        ),
    ] = False,
    replication_factor: _Replication = None,
) -> None:
    """Create, grow and configure topics; never make one smaller (exit code 5)."""
    run = invocation(ctx)
    planned = asyncio.run(_run(run, replication_factor, accept_dedupe_gap=accept_dedupe_gap))
    _print(run, planned)


def render(
    ctx: typer.Context,
    *,
    cluster: Annotated[
        str, typer.Option(metavar="NAME", help="Name of the Strimzi Kafka cluster.")
    ] = "kafka",
    replication_factor: _Replication = None,
) -> None:
    """Print the topics as Strimzi KafkaTopic resources, for `kubectl apply -f -`.

    For clusters where an operator makes the topics; asks no broker.
    """
    from streams.strimzi import resources, yaml
    from streams.topics import BROKER_DEFAULT_REPLICATION, wanted_topics

    run = invocation(ctx)
    topics = wanted_topics(replication_factor=replication_factor or BROKER_DEFAULT_REPLICATION)
    rendered = resources(topics, cluster)
    if run.json:
        for resource in rendered:
            run.printer().record(resource)
    else:
        print(yaml(rendered), end="")


async def _run(
    run: Invocation, replication_factor: int | None, *, accept_dedupe_gap: bool | None = None
) -> Plan:
    """The plan; applied as well unless ``accept_dedupe_gap`` is None."""
    from streams.cli.kafka import broker_of
    from streams.topics import BROKER_DEFAULT_REPLICATION, apply, plan, wanted_topics

    admin = await broker_of(run.settings).admin()
    try:
        wanted = wanted_topics(replication_factor=replication_factor or BROKER_DEFAULT_REPLICATION)
        planned = plan(wanted, await admin.describe_topics())
        if accept_dedupe_gap is not None:
            await apply(admin, planned, accept_dedupe_gap=accept_dedupe_gap)
        return planned
    finally:
        await admin.close()


def _print(run: Invocation, planned: Plan) -> None:
    printer = run.printer()
    if not planned.changes:
        printer.say(f"{len(planned.wanted)} topics are as declared.")
        return
    printer.rows(
        _COLUMNS,
        [(c.topic, c.kind.value, c.setting, c.now, c.wanted) for c in planned.changes],
    )
