"""`dia shed`: skips records that are too old or unreadable, by an operator's order."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.command_group import command_group
from streams.cli.invocation import invocation
from streams.cli.shed_return import bring_back
from streams.cli.terminal.operator import Actor, Yes, actor_of, consent
from streams.cli.terminal.payload import moment
from streams.cli.watchable import watchable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.cli.invocation import Invocation
    from streams.cli.terminal.output import Printer
    from streams.engine.agents.job_agent import Agent
    from streams.operate.shed.shed_admin import ShedPlan, ShedStatus

_PLAN_COLUMNS = ("topic", "partition", "lag", "oldest", "from", "to", "shed", "left")
_ORDER_DETAIL = ("to", "reached", "actor", "at", "reason")
_ORDER_COLUMNS = ("order", "topic", "partition", "state", "to", "reached", "actor", "at", "reason")

_Topic = Annotated[str, typer.Option(metavar="NAME", help="Source topic.")]
_AnyTopic = Annotated[
    str | None, typer.Option(metavar="NAME", help="Source topic; by default every one.")
]
_Partition = Annotated[
    list[int] | None, typer.Option(metavar="N", min=0, help="Of it; by default every one.")
]
_OlderThan = Annotated[
    str | None, typer.Option(metavar="SPAN", help="Skip what was appended longer ago: 90m, 6h, 2d.")
]
_Before = Annotated[
    str | None, typer.Option(metavar="WHEN", help="The same as a moment: -6h, or ISO (UTC).")
]
_Unreadable = Annotated[
    bool,
    typer.Option(
        "--unreadable",
        help="Skip what stopped a partition: a batch that cannot be opened, or with CreateTime.",
    ),
]


def register(app: typer.Typer) -> None:
    group = command_group(
        "Skip records that are too old or unreadable, by order; they are counted and listed."
    )
    group.command("plan")(show_plan)
    group.command("run")(order)
    group.command("list")(show)
    group.command("withdraw")(withdraw)
    group.command("return")(bring_back)
    app.add_typer(group, name="shed")


def show_plan(
    ctx: typer.Context,
    *,
    topic: _Topic,
    older_than: _OlderThan = None,
    before: _Before = None,
    unreadable: _Unreadable = False,
    partition: _Partition = None,
) -> None:
    """Show the records that an order would skip, by partition, and the consequences. Changes
    nothing.

    shed counts offsets: records and transaction markers. --unreadable reads the unread part of the
    log.

    Example: dia shed plan --topic model.metrics --older-than 6h"""
    run = invocation(ctx)
    agent, cutoff_s = _asked(run, topic, older_than, before, unreadable=unreadable)
    plans = asyncio.run(_plans(run, agent, cutoff_s, partition))
    printer = run.printer()
    _show(printer, agent, plans)
    if any(plan.shed for plan in plans):
        what = "--unreadable" if cutoff_s is None else f"--before {_moment(cutoff_s)}"
        chosen = "".join(f" --partition {number}" for number in partition or ())
        printer.say(f"to do it: dia shed run --topic {topic} {what}{chosen} --reason WHY")
    else:
        printer.say(
            "no record that old is waiting." if cutoff_s else "every waiting record is readable."
        )


def order(
    ctx: typer.Context,
    *,
    topic: _Topic,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Recorded beside every range.")],
    older_than: _OlderThan = None,
    before: _Before = None,
    unreadable: _Unreadable = False,
    partition: _Partition = None,
    actor: Actor = None,
    yes: Yes = False,
) -> None:
    """Order that records appended before a moment, or unreadable ones, are not processed.

    The partition's worker carries the order out within seconds; without one, the next worker does.
    The table shed_ranges and `dia audit` list the skipped offsets. Exit code 5 when no such record
    waits, or without consent.

    Example: dia shed run --topic model.metrics --older-than 6h --reason "backfill of a dead
    client" """
    from streams.core.errors import RefusedBySafety
    from streams.engine.runtime.offsets.shed_order import check_words

    run = invocation(ctx)
    agent, cutoff_s = _asked(run, topic, older_than, before, unreadable=unreadable)
    who = actor_of(actor)
    check_words(who, reason)
    plans = asyncio.run(_plans(run, agent, cutoff_s, partition))
    talk = run.printer()
    for sentence in _sentences(agent, plans):
        talk.say(sentence)
    if not any(plan.shed for plan in plans):
        if cutoff_s is None:
            raise RefusedBySafety(f"all of {topic} that waits can be read. `dia status` says more.")
        raise RefusedBySafety(
            f"nothing in {topic} that was appended before {_moment(cutoff_s)} is waiting. "
            f"`dia shed plan` shows how old what waits is."
        )
    for plan in plans:
        if plan.shed:
            last = plan.until - 1
            talk.say(f"  {plan.tp}: offsets {plan.first} to {last}, {plan.shed:,} of {plan.lag:,}")
    if not yes:
        consent("Skip them?")
    order_id = f"{time.time_ns() // 1_000_000:x}-{secrets.token_hex(2)}"
    asyncio.run(_give(run, plans, order_id, who, reason))
    columns = ("order", "topic", "partition", "from", "to", "shed")
    talk.rows(
        columns,
        [(order_id, *plan.tp, plan.first, plan.until, plan.shed) for plan in plans if plan.shed],
    )
    talk.say("a running worker skips them within seconds; `dia shed list` tells.")


@watchable
def show(
    ctx: typer.Context,
    *,
    topic: _AnyTopic = None,
) -> None:
    """The last order of each partition, and whether the group has passed its end.

    waiting: not yet. done: passed; records that a worker had read before it received the order were
    processed, not skipped. void: the partition was reset since. The skipped offsets: dia query
    "SELECT * FROM shed_ranges".

    Example: dia shed list
    """
    run = invocation(ctx)
    printer = run.printer()
    standing = asyncio.run(_standings(run, topic))
    printer.rows(_ORDER_COLUMNS, map(_order_row, standing), _ORDER_DETAIL)
    if not standing:
        printer.say("no shed order was ever given.")


def withdraw(
    ctx: typer.Context,
    *,
    topic: _AnyTopic = None,
    actor: Actor = None,
    yes: Yes = False,
) -> None:
    """Withdraw orders that no worker has carried out.

    An order that is being committed may still complete: `dia shed list` shows it. Exit code 5 when
    no order waits, or without consent.

    Example: dia shed withdraw --topic model.metrics
    """
    from streams.core.errors import RefusedBySafety

    run = invocation(ctx)
    printer = run.printer()
    waiting = [one for one in asyncio.run(_standings(run, topic)) if one.state == "waiting"]
    if not waiting:
        raise RefusedBySafety("no order is waiting. `dia shed list` shows all orders.")
    for standing in waiting:
        order = standing.order
        printer.say(f"{standing.tp}: up to {order.until - 1}, by {order.actor}: {order.reason}")
    if not yes:
        consent("Take it back?")
    asyncio.run(_withdraw(run, waiting, actor_of(actor)))
    printer.rows(("order", "topic", "partition"), [(one.order.id, *one.tp) for one in waiting])


def _asked(
    run: Invocation, topic: str, older_than: str | None, before: str | None, *, unreadable: bool
) -> tuple[Agent, int | None]:
    """The agent that reads ``topic``, and the cutoff in seconds; None for unreadable records."""
    from streams.core.errors import UsageError
    from streams.operate.shed.shed_admin import reader_of, sheddable

    if not unreadable:
        return sheddable(tuple(run.app.agents.values()), topic), _cutoff_s(older_than, before)
    if older_than is not None or before is not None:
        raise UsageError("--unreadable takes neither --older-than nor --before.")
    return reader_of(run.app.agents.values(), topic), None


def _readers(run: Invocation, topic: str | None) -> list[Agent]:
    """Raises `UsageError` when no agent reads ``topic``."""
    from streams.operate.shed.shed_admin import reader_of

    agents = list(run.app.agents.values())
    return agents if topic is None else [reader_of(agents, topic)]


def _cutoff_s(older_than: str | None, before: str | None) -> int:
    from streams.core.errors import UsageError
    from streams.core.words.moments import moment_s, span_s

    if (older_than is None) == (before is None):
        raise UsageError("name one age limit: --older-than 6h, or --before WHEN.")
    now_s = int(time.time())
    if older_than is not None:
        return now_s - span_s(older_than, "--older-than")
    return moment_s(before or "", "--before", now_s)


def _moment(at_s: int) -> str:
    return moment(at_s * 1000, "seconds")


def _show(printer: Printer, agent: Agent, plans: Sequence[ShedPlan]) -> None:
    printer.rows(_PLAN_COLUMNS, map(_plan_row, plans))
    for sentence in _sentences(agent, plans):
        printer.say(sentence)


def _sentences(agent: Agent, plans: Sequence[ShedPlan]) -> list[str]:
    from streams.operate.shed.shed_consequences import consequences

    return consequences(agent, plans)


def _plan_row(plan: ShedPlan) -> tuple[Any, ...]:
    oldest = moment(plan.oldest_ms, "seconds") if plan.oldest_ms is not None else None
    return (*plan.tp, plan.lag, oldest, plan.first, plan.until, plan.shed, plan.lag - plan.shed)


def _order_row(standing: ShedStatus) -> tuple[Any, ...]:
    order, committed = standing.order, standing.committed
    return (
        order.id,
        *standing.tp,
        standing.state,
        order.until,
        committed.offset if committed is not None else None,
        order.actor,
        moment(order.at_ms, "seconds"),
        order.reason,
    )


async def _plans(
    run: Invocation, agent: Agent, cutoff_s: int | None, partitions: list[int] | None
) -> list[ShedPlan]:
    from streams.cli.clients import broker_of
    from streams.core.clock import SystemClock
    from streams.operate.shed.shed_admin import chosen, partitions_of, plan, plan_unreadable

    broker = broker_of(run.settings)
    asked = chosen(await partitions_of(broker, agent.source.name), partitions)
    if cutoff_s is None:
        return await plan_unreadable(broker, SystemClock(), agent.group, asked)
    return await plan(broker, agent.group, asked, cutoff_s * 1000)


async def _give(
    run: Invocation, plans: Sequence[ShedPlan], order_id: str, actor: str, reason: str
) -> None:
    from streams.cli.clients import broker_of
    from streams.core.clock import SystemClock
    from streams.operate.shed.shed_admin import give_orders

    await give_orders(broker_of(run.settings), SystemClock(), plans, order_id, actor, reason)


async def _standings(run: Invocation, topic: str | None) -> list[ShedStatus]:
    from streams.cli.clients import broker_of
    from streams.operate.shed.shed_admin import partitions_of, standings

    broker = broker_of(run.settings)
    standing: list[ShedStatus] = []
    for agent in _readers(run, topic):
        tps = await partitions_of(broker, agent.source.name)
        standing += await standings(broker, agent.group, tps)
    return standing


async def _withdraw(run: Invocation, waiting: Sequence[ShedStatus], actor: str) -> None:
    from streams.cli.clients import broker_of
    from streams.core.clock import SystemClock
    from streams.operate.shed.shed_admin import withdraw

    broker, clock = broker_of(run.settings), SystemClock()
    for group in sorted({one.group for one in waiting}):
        await withdraw(broker, clock, [one for one in waiting if one.group == group], actor)
