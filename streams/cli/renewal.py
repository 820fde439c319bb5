"""`dia dlq renew`: a DLQ topic was deleted and made again, or its journal has lost decisions."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from streams.cli.actor import actor_of
from streams.cli.consent import consent
from streams.cli.invocation import invocation


def renew(
    ctx: typer.Context,
    *,
    topic: Annotated[str, typer.Option(metavar="TOPIC", help="The source topic of the DLQ.")],
    lost_decisions: Annotated[
        bool, typer.Option("--lost-decisions", help="Go on without entries that the journal lost.")
    ] = False,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Kept in the journal.")] = "",
    actor: Annotated[
        str | None, typer.Option(metavar="NAME", help="Default: the user of the system.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Treat the letters of a DLQ topic that was deleted and made again, or lost its end, as new ones.

    Decisions name letters by offset. Where the DLQ holds other letters than those that were decided
    on, plans and lists stop with topic_recreated until this command. It changes only such partitions, and keeps what was decided of letters that
    are proven to be still there.

    With --lost-decisions: where a journal has lost entries (changelog_lost, changelog_gap), go on
    without them. Letters that were decided on only there are open again, and a replay of them may be
    a second one. It fences a replay that runs.

    Example: dia dlq renew --topic model.metrics --reason "purged after the load test"
    """
    from streams.cli.kafka import broker_of
    from streams.core.clock import SystemClock
    from streams.core.errors import UsageError
    from streams.operate.replay.renewal import give_up_lost
    from streams.operate.replay.renewal import renew as renew_queue

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
            f"{named.journal} is whole: nothing was changed."
            if lost_decisions
            else f"{named.dlq} holds the letters that were decided on: nothing was changed."
        )
