"""`dia topics`: what topics hold; the declared ones against the broker's, and their creation."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli import topic_descriptions, topic_messages, topic_rights
from streams.cli.command_group import command_group
from streams.cli.invocation import Invocation, invocation
from streams.connect.broker.opened import opened

if TYPE_CHECKING:
    from streams.operate.topics.topics import TopicPlan

_COLUMNS = ("topic", "change", "setting", "now", "wanted", "why")

_Replication = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="N", help="Replicas of new topics; default: DIA_TOPIC_REPLICATION_FACTOR."
    ),
]


def register(app: typer.Typer) -> None:
    group = command_group("Topics: what they hold, their messages, plan and apply.")
    topic_descriptions.register(group)
    topic_messages.register(group)
    group.command("plan")(show_plan)
    group.command("apply")(apply_plan)
    group.command("render")(render)
    topic_rights.register(group)
    app.add_typer(group, name="topics")


def show_plan(ctx: typer.Context, *, replication_factor: _Replication = None) -> None:
    """List every difference between the declared topics and the broker's; change nothing.

    Exit code 5 when `dia topics apply` would refuse one of them.

    Example: dia topics plan
    """
    from streams.core.errors import RefusedBySafety
    from streams.operate.topics.topics import refusals

    run = invocation(ctx)
    planned = asyncio.run(_run(run, replication_factor))
    if reasons := refusals(planned):
        raise RefusedBySafety(f"`dia topics apply` will refuse: {' '.join(reasons)}")


def apply_plan(
    ctx: typer.Context,
    *,
    accept_dedupe_gap: Annotated[
        bool,
        typer.Option(
            "--accept-dedupe-gap",
            help="Grow a source although duplicates across the change count twice, and entries of "
            "moved keys stay behind in tables.",
        ),
    ] = False,
    replication_factor: _Replication = None,
) -> None:
    """Create, grow and configure topics; never make one smaller.

    Exit code 5 when a change is refused; every other change is made.

    Example: dia topics apply --replication-factor 3
    """
    run = invocation(ctx)
    asyncio.run(_run(run, replication_factor, accept_dedupe_gap=accept_dedupe_gap))


def render(
    ctx: typer.Context,
    *,
    cluster: Annotated[
        str, typer.Option(metavar="NAME", help="Name of the Strimzi Kafka cluster.")
    ] = "kafka",
    replication_factor: _Replication = None,
) -> None:
    """Print the topics as Strimzi KafkaTopic resources, for `kubectl apply -f -`.

    For clusters where an operator creates the topics; contacts no broker.

    Example: dia topics render --cluster kafka --replication-factor 3
    """
    from streams.operate.topics.declared_topics import declared_topics
    from streams.operate.topics.strimzi import resources, yaml

    run = invocation(ctx)
    rendered = resources(
        declared_topics(run.settings, run.topology, replication_factor).topics, cluster
    )
    if run.json:
        for resource in rendered:
            run.printer().record(resource)
    else:
        print(yaml(rendered), end="")


async def _run(
    run: Invocation, replication_factor: int | None, *, accept_dedupe_gap: bool | None = None
) -> TopicPlan:
    """Apply it unless ``accept_dedupe_gap`` is None."""
    from streams.cli.clients import broker_of
    from streams.operate.topics.declared_topics import declared_topics
    from streams.operate.topics.topics import apply

    declared = declared_topics(run.settings, run.topology, replication_factor)
    async with opened(broker_of(run.settings).admin()) as admin:
        planned = declared.against(await admin.describe_topics(), _tables(run))
        _print(run, planned)
        if accept_dedupe_gap is not None:
            await apply(admin, planned, accept_dedupe_gap=accept_dedupe_gap)
        return planned


def _tables(run: Invocation) -> dict[str, tuple[str, ...]]:
    """By source topic, the tables of its agent."""
    from streams.engine.agents.stream_agent import StreamAgent

    return {
        agent.source.name: tuple(table.name for table in agent.owned)
        for agent in run.app.agents.values()
        if isinstance(agent, StreamAgent)
    }


def _print(run: Invocation, planned: TopicPlan) -> None:
    printer = run.printer()
    if not planned.changes:
        printer.say(f"{len(planned.wanted)} topics are as declared.")
        return
    printer.rows(
        _COLUMNS,
        [(c.topic, c.kind.value, c.setting, c.now, c.wanted, c.why) for c in planned.changes],
    )
