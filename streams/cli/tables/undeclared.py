"""`dia tables undeclared`: what the state keeps of tables that the app no longer declares."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.command_group import command_group
from streams.cli.invocation import invocation
from streams.cli.tables.choice import changelogs
from streams.cli.terminal.operator import Yes, consent
from streams.cli.watchable import watchable
from streams.connect.broker.opened import opened

if TYPE_CHECKING:
    from streams.cli.invocation import Invocation
    from streams.engine.agents.job_agent import Agent
    from streams.operate.reset.table_drop import AgreedTableDrop

_COLUMNS = ("group", "topic", "partition", "table", "kind", "entries", "bytes")


def register(app: typer.Typer) -> None:
    group = command_group("State of tables that the app no longer declares.")
    group.command("list")(show)
    group.command("drop")(drop)
    app.add_typer(group, name="undeclared")


@watchable
def show(ctx: typer.Context) -> None:
    """What the state of each partition keeps of tables that the app does not declare.

    It is kept, so that an older version of the app finds it again. No agent reads it, and it counts for
    no tenant's share, except held_windows.

    Example: dia tables undeclared list
    """
    run = invocation(ctx)
    run.printer().rows(_COLUMNS, asyncio.run(_left(run)))


def drop(
    ctx: typer.Context,
    *,
    table: Annotated[str, typer.Option(metavar="NAME", help="The undeclared table.")],
    yes: Yes = False,
) -> None:
    """Delete the state of an undeclared table in all partitions.

    Deploy the app without the table first, and stop the workers of its group: the command fences the
    owner of each partition. A version of the app that declares the table again begins with an empty
    one; open windows of it do not close, and undelivered rows stay undelivered. Exit code 5 when
    the app declares the table, when a live worker takes a partition back, or without consent; then
    run it again.

    Example: dia tables undeclared drop --table totals
    """
    from streams.core.errors import UsageError

    run = invocation(ctx)
    printer = run.printer()
    agreed = asyncio.run(_plan(run, table))
    if not agreed:
        raise UsageError(
            f"no partition keeps anything of an undeclared table {table!r}: see `dia tables undeclared list`."
        )
    for agent, one in agreed:
        printer.say(f"{one.standing.tp} of {agent.group} keeps {len(one.keys)} entries of {table}")
    if not yes:
        consent("Delete them for good?")
    for agent, one in agreed:
        deleted = asyncio.run(_drop(run, agent, one))
        tp = one.standing.tp
        fields = {"group": agent.group, "topic": tp.topic, "partition": tp.partition}
        printer.record({**fields, "table": table, "entries": deleted})
    printer.say("done. Start the workers again.")


def _agents(run: Invocation) -> dict[tuple[str, str], Agent]:
    return {(agent.group, agent.source.name): agent for agent in run.app.agents.values()}


async def _plan(run: Invocation, table: str) -> list[tuple[Agent, AgreedTableDrop]]:
    from streams.cli.clients import broker_of
    from streams.operate.reset.table_drop import plan_table_drop

    broker, agents, targets = broker_of(run.settings), _agents(run), run.app.topology.targets
    planned = []
    for group, topic, changelog in await changelogs(run, broker):
        if agent := agents.get((group, topic)):
            agreed = await plan_table_drop(broker, agent, changelog.partition, targets, table)
            planned += [(agent, agreed)] if agreed is not None else []
    return planned


async def _drop(run: Invocation, agent: Agent, agreed: AgreedTableDrop) -> int:
    from streams.cli.clients import broker_of
    from streams.core.clock import SystemClock
    from streams.operate.reset.table_drop import drop_table

    return await drop_table(broker_of(run.settings), SystemClock(), agent, agreed)


async def _left(run: Invocation) -> list[tuple[Any, ...]]:
    from streams.cli.clients import broker_of
    from streams.engine.runtime.restore.survey import survey
    from streams.operate.reset.table_drop import PREFIXES, leftovers

    broker, agents = broker_of(run.settings), _agents(run)
    async with opened(broker.reader()) as reader:
        return [
            (group, topic, changelog.partition, one.table.name, one.table.kind, *one[1:])
            for group, topic, changelog in await changelogs(run, broker)
            if (agent := agents.get((group, topic)))
            for one in leftovers(agent, (await survey(reader, changelog, tables=PREFIXES)).wanted)
        ]
