"""`dia tables windows`: windows whose `on_window_close` fails become dead letters, by order."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.command_group import command_group
from streams.cli.invocation import invocation
from streams.cli.terminal.operator import Actor, Yes, actor_of, consent
from streams.cli.terminal.payload import moment
from streams.cli.watchable import watchable

if TYPE_CHECKING:
    from streams.cli.invocation import Invocation
    from streams.core.types import TopicPartition
    from streams.engine.agents.job_agent import Agent
    from streams.engine.runtime.offsets.close_order import CloseOrder

_COLUMNS = (
    *("order", "topic", "partition", "table", "tenant", "before"),
    *("untried", "actor", "at", "reason"),
)
_DETAIL = ("before", "untried", "actor", "at", "reason")


def register(app: typer.Typer) -> None:
    group = command_group("Windows that do not close as their on_window_close fails.")
    group.command("drop")(drop)
    group.command("list")(show)
    app.add_typer(group, name="windows")


def drop(
    ctx: typer.Context,
    *,
    topic: Annotated[str, typer.Option(metavar="NAME", help="Source topic.")],
    table: Annotated[str, typer.Option(metavar="NAME", help="Table of the windows.")],
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="The reason; stored in each dead letter.")
    ],
    tenant: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help='Owner of the windows; "" for those of no single tenant. By default every one.',
        ),
    ] = None,
    partition: Annotated[
        list[int] | None, typer.Option(metavar="N", min=0, help="Of the topic; by default all.")
    ] = None,
    untried: Annotated[
        bool,
        typer.Option("--untried", help="Also due windows without a call: it does not return."),
    ] = False,
    actor: Actor = None,
    yes: Yes = False,
) -> None:
    """Order that held windows close as dead letters, without their on_window_close.

    `dia status` names held windows. A dead letter of stage window, code window_dropped, keeps the
    key, times and value of each. The partition's worker carries the order out within seconds; one
    that hangs in a call does once it is restarted. Exit code 5 without consent.

    Example: dia tables windows drop --topic orders --table hourly --tenant acme --reason "bad
    rates" """
    from streams.engine.runtime.offsets.close_order import CloseOrder
    from streams.engine.runtime.offsets.shed_order import check_words
    from streams.operate.shed.close_orders import check_table
    from streams.operate.shed.shed_admin import reader_of

    who = actor_of(actor)
    check_words(who, reason)
    run = invocation(ctx)
    printer = run.printer()
    agent = reader_of(run.app.agents.values(), topic)
    check_table(agent, table)
    now_ms = time.time_ns() // 1_000_000
    order = CloseOrder(
        id=f"{now_ms:x}-{secrets.token_hex(2)}",
        epoch=0,  # `give_close_orders` sets that of each partition
        table=table,
        tenant=tenant,
        before_ms=now_ms,
        untried=untried,
        at_ms=now_ms,
        actor=who,
        reason=reason.strip(),
    )
    whose = "every tenant" if tenant is None else f"tenant {tenant}" if tenant else "no tenant"
    kind = "due windows" if untried else "held windows"
    printer.say(f"{kind} of table {table} of {whose} become dead letters in {topic}.dlq.")
    if not yes:
        consent("Drop them?")
    tps = asyncio.run(_give(run, agent, partition, order))
    printer.rows(_COLUMNS, [_row(tp, order) for tp in tps], _DETAIL)
    printer.say("a running worker carries it out within seconds; `dia status` tells.")


@watchable
def show(ctx: typer.Context) -> None:
    """The last order of each partition. `dia status` names the windows that are held now.

    Example: dia tables windows list
    """
    run = invocation(ctx)
    printer = run.printer()
    rows = asyncio.run(_standing(run))
    printer.rows(_COLUMNS, rows, _DETAIL)
    if not rows:
        printer.say("no order about held windows was ever given.")


async def _give(
    run: Invocation, agent: Agent, numbers: list[int] | None, order: CloseOrder
) -> list[TopicPartition]:
    from streams.cli.clients import broker_of
    from streams.operate.shed.close_orders import give_close_orders
    from streams.operate.shed.shed_admin import chosen, partitions_of

    broker = broker_of(run.settings)
    tps = chosen(await partitions_of(broker, agent.source.name), numbers)
    await give_close_orders(broker, agent.group, tps, order)
    return tps


async def _standing(run: Invocation) -> list[tuple[Any, ...]]:
    from streams.cli.clients import broker_of
    from streams.operate.shed.close_orders import close_orders
    from streams.operate.shed.shed_admin import partitions_of

    broker, rows = broker_of(run.settings), []
    for agent in run.app.agents.values():
        tps = await partitions_of(broker, agent.source.name)
        found = await close_orders(broker, agent.group, tps)
        rows += [_row(tp, order) for tp, order in sorted(found.items())]
    return rows


def _row(tp: TopicPartition, order: CloseOrder) -> tuple[Any, ...]:
    before, at = moment(order.before_ms, "seconds"), moment(order.at_ms, "seconds")
    return (
        *(order.id, *tp, order.table, order.tenant, before),
        *(order.untried, order.actor, at, order.reason),
    )
