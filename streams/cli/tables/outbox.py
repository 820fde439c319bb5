"""`dia tables outbox`: undelivered rows by target, and dropping those of an unknown target."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.command_group import command_group
from streams.cli.invocation import invocation
from streams.cli.tables.choice import changelogs, source_of
from streams.cli.terminal.operator import Actor, Yes, actor_of, consent
from streams.cli.watchable import watchable
from streams.connect.broker.opened import opened

if TYPE_CHECKING:
    from streams.cli.invocation import Invocation
    from streams.core.topics.topic import Topic
    from streams.operate.reset.outbox_drop import AgreedDrop

_COLUMNS = (
    *("group", "topic", "partition", "target", "kind", "declared"),
    *("effects", "rows", "bytes", "oldest_seq"),
)
_DETAIL = ("group", "kind", "bytes", "oldest_seq")


def register(app: typer.Typer) -> None:
    group = command_group("Undelivered rows of tables and sinks.")
    group.command("list")(show)
    group.command("drop")(drop)
    app.add_typer(group, name="outbox")


@watchable
def show(ctx: typer.Context) -> None:
    """The undelivered rows of each partition, by target, read from its changelog.

    An undeclared target stops its partition (`unknown_target`): declare it again, run the version
    that declared it, or use `dia tables outbox drop`.

    Example: dia tables outbox list
    """
    run = invocation(ctx)
    run.printer().rows(_COLUMNS, asyncio.run(_owed(run)), _DETAIL)


def drop(
    ctx: typer.Context,
    *,
    group: Annotated[str, typer.Option(help="Consumer group.")],
    topic: Annotated[str, typer.Option(help="Source topic.")],
    partition: Annotated[int, typer.Option(min=0, help="Its partition.")],
    target: Annotated[str, typer.Option(metavar="NAME", help="The undeclared table or sink.")],
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="The reason; stored in each dead letter.")
    ],
    actor: Actor = None,
    yes: Yes = False,
) -> None:
    """Convert the undelivered rows of an undeclared table or sink to dead letters.

    The state stays unchanged. `dia replay` restores the rows once the target is declared again. The
    command fences the partition's owner; a worker that had stopped the partition opens it again
    after a restart. Exit code 5 when something else stops the partition, when a live worker takes
    it back, or without consent.

    Example: dia tables outbox drop --group acme-group --topic orders --partition 0 --target
    sales_v2 --reason "rolled back" """
    from streams.cli.clients import broker_of
    from streams.core.clock import SystemClock
    from streams.engine.runtime.offsets.shed_order import check_words
    from streams.operate.reset.outbox_drop import drop as drop_owed

    who = actor_of(actor)
    check_words(who, reason)
    run = invocation(ctx)
    printer = run.printer()
    agreed = asyncio.run(_plan(run, source_of(run, group, topic), group, partition, target))
    printer.say(
        f"{agreed.standing.tp} owes {agreed.rows} rows to the {agreed.target.kind} "
        f"{agreed.target.name}, which is not declared. They become dead letters in "
        f"{agreed.standing.source.dlq}, row_dropped; nothing else of the state changes."
    )
    if not yes:
        consent("Drop them?")
    dropped = asyncio.run(
        drop_owed(broker_of(run.settings), SystemClock(), agreed, who, reason.strip())
    )
    printer.record(
        {"group": group, "topic": topic, "partition": partition, "target": target, "rows": dropped}
    )
    printer.say("done. Restart the worker that had stopped it, if one runs (`dia status`).")


async def _plan(
    run: Invocation, source: Topic, group: str, partition: int, target: str
) -> AgreedDrop:
    from streams.cli.clients import broker_of
    from streams.operate.reset.outbox_drop import plan_drop

    targets = run.app.topology.targets
    return await plan_drop(broker_of(run.settings), group, source, partition, targets, target)


async def _owed(run: Invocation) -> list[tuple[Any, ...]]:
    from streams.cli.clients import broker_of
    from streams.engine.runtime.restore.survey import survey
    from streams.operate.reset.outbox_drop import owed_to

    broker, targets = broker_of(run.settings), run.app.topology.targets
    async with opened(broker.reader()) as reader:
        return [
            (group, topic, changelog.partition, one.target.name, one.target.kind, *one[1:])
            for group, topic, changelog in await changelogs(run, broker)
            for one in owed_to(targets, (await survey(reader, changelog)).owed)
        ]
