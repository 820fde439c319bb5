"""`dia dlq renew`: for a DLQ topic that was recreated, or a journal that has lost decisions."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from streams.cli.invocation import invocation
from streams.cli.terminal.operator import Actor, Reason, Yes, actor_of, consent


def renew(
    ctx: typer.Context,
    *,
    topic: Annotated[str, typer.Option(metavar="TOPIC", help="The source topic of the DLQ.")],
    lost_decisions: Annotated[
        bool,
        typer.Option("--lost-decisions", help="Continue without the lost entries of the journal."),
    ] = False,
    reason: Reason = "",
    actor: Actor = None,
    yes: Yes = False,
) -> None:
    """Treat the dead letters of a DLQ topic that was recreated, or lost its end, as new ones.

    Decisions name dead letters by offset. When the DLQ holds other records there, plans and lists
    stop with topic_recreated until this command. It keeps decisions on dead letters that are proven
    to be the same.

    With --lost-decisions: continue a journal that has lost entries (changelog_lost, changelog_gap).
    Dead letters decided only in those entries are open again, and a replay may repeat them. It
    fences a running replay.

    Example: dia dlq renew --topic model.metrics --reason "purged after the load test" """
    from streams.cli.clients import broker_of
    from streams.core.clock import SystemClock
    from streams.core.errors import UsageError
    from streams.operate.replay.journal.renewal import give_up_lost
    from streams.operate.replay.journal.renewal import renew as renew_queue

    run = invocation(ctx)
    try:
        named = run.topology.topic(topic)
    except KeyError as error:
        raise UsageError(f"{error.args[0]}.") from None
    if not yes:
        consent(
            f"Go on without the decisions that {named.journal} has lost?"
            if lost_decisions
            else f"Forget the decisions on letters that {named.dlq} no longer holds?"
        )
    broker = broker_of(run.settings)
    change = give_up_lost if lost_decisions else renew_queue
    renewed = asyncio.run(
        change(broker, SystemClock(), run.topology, named, actor_of(actor), reason)
    )
    printer = run.printer()
    printer.record({"topic": topic, "partitions": renewed})
    if not renewed:
        printer.say(
            f"{named.journal} is complete: nothing was changed."
            if lost_decisions
            else f"{named.dlq} holds the dead letters of its decisions: nothing was changed."
        )
