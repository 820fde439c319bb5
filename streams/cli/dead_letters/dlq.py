"""`dia dlq`: dead letters in groups, one by one, and as a file."""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.command_group import command_group
from streams.cli.dead_letters import breaker, disposal
from streams.cli.dead_letters.filters import filtered
from streams.cli.dead_letters.reading import decided, pages
from streams.cli.dead_letters.rows import (
    COLUMNS,
    DETAIL,
    DISPOSITION,
    cells,
    decision,
    fields,
    print_tallies,
)
from streams.cli.invocation import invocation
from streams.cli.terminal.operator import Actor, Reason, Yes, actor_of, consent
from streams.cli.terminal.output_form import OutputForm
from streams.cli.watchable import watchable

if TYPE_CHECKING:
    from streams.operate.dlq.filters import Filters
    from streams.operate.dlq.tally import DeadLetterTally


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


LISTED_MAX = 100
"""Of one table, unless --limit sets more."""
_SECTIONS = ("error", "tenant", "agent", "age")


def register(app: typer.Typer) -> None:
    group = command_group(
        "Dead letters: what they have in common, what each holds, would it pass now."
    )
    group.command("stats")(filtered(stats))
    group.command("list")(filtered(show_list))
    group.command("show")(show)
    group.command("export")(filtered(export))
    group.command("discard")(filtered(disposal.discard))
    group.command("park")(filtered(disposal.park))
    group.command("renew")(renew)
    breaker.register(group)
    app.add_typer(group, name="dlq")


@watchable
def stats(
    ctx: typer.Context,
    *,
    by: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD",
            help="Group by: error, tenant, agent, age, topic, stage, dialect, schema or "
            "disposition. Repeated: by each combination.",
        ),
    ] = None,
    filters: Filters,
) -> None:
    """Count dead letters by error code, tenant, agent and age.

    Example: dia dlq stats --topic model.metrics --since 6h --by error --by tenant
    """
    from streams.core.errors import UsageError
    from streams.operate.dlq.tally import FIELDS, DeadLetterTally

    run = invocation(ctx)
    known = {*FIELDS, DISPOSITION}
    for field in by or ():
        if field not in known:
            raise UsageError(
                f'Invalid --by "{field}". Fields of letters are {", ".join((*FIELDS, DISPOSITION))}.'
            )
    now_ms = round(time.time() * 1000)
    wanted = [tuple(by)] if by else [(field,) for field in _SECTIONS]
    total = DeadLetterTally((), now_ms)
    tallies: list[DeadLetterTally] = []

    async def count() -> None:
        found = await decided(run) if DISPOSITION in (by or ()) else None
        more = {DISPOSITION: lambda letter, _: decision(found, letter)}
        tallies.extend(DeadLetterTally(each, now_ms, more) for each in wanted)
        async with pages(run, filters) as found_pages:
            async for page in found_pages:
                total.add(page)
                for tally in tallies:
                    tally.add(page)

    asyncio.run(count())
    print_tallies(run, total, tallies)


@watchable
def show_list(ctx: typer.Context, *, filters: Filters) -> None:
    """One line per dead letter, oldest offset first; -o json and csv stream them all.

    Example: dia dlq list --topic model.metrics --error wrong_type --limit 20
    """
    run = invocation(ctx)
    printer = run.printer()
    streamed = run.form in (OutputForm.JSON, OutputForm.CSV)
    if filters.limit is None and not streamed:
        filters = replace(filters, limit=LISTED_MAX)
    rows: list[tuple[Any, ...]] = []

    async def collect() -> None:
        found, heads = await decided(run), True
        async with pages(run, filters) as found_pages:
            async for page in found_pages:
                if streamed:
                    printer.rows(COLUMNS, [fields(letter, found) for letter in page], heads=heads)
                    heads = False
                else:
                    rows.extend(cells(letter, found) for letter in page)

    asyncio.run(collect())
    if streamed:
        return
    printer.rows(COLUMNS, rows, DETAIL)
    if len(rows) == filters.limit:
        printer.say(f"the first {len(rows)}; --limit shows more, `dia dlq stats` counts them all.")
    elif not rows:
        printer.say("no dead letters there.")


def show(
    ctx: typer.Context,
    place: Annotated[
        str, typer.Argument(metavar="ID", help="Id or place of a letter, as `dia dlq list` shows.")
    ],
) -> None:
    """Everything about one dead letter: headers, value, error, and whether it would pass today.

    Example: dia dlq show model.metrics/2/41
    """
    from streams.cli.clients import broker_of
    from streams.cli.dead_letters.page import DeadLetterPage
    from streams.core.errors import CommandError
    from streams.operate.replay.report import sheet_of

    run = invocation(ctx)
    found = asyncio.run(sheet_of(broker_of(run.settings), run.settings, run.topology, place))
    if found is None:
        raise CommandError(f"there is no dead letter {place}. `dia dlq list` shows what there is.")
    if run.json:
        run.printer().record(found.fields())
    else:
        for line in DeadLetterPage(found).lines():
            print(line)


def export(ctx: typer.Context, *, filters: Filters) -> None:
    """Dead letters in full as JSON Lines on stdout; non-UTF-8 bytes as base64.

    Example: dia dlq export --topic model.metrics --error invalid_json > letters.jsonl
    """
    from streams.operate.dlq.export import encode

    run = invocation(ctx)
    written = 0

    async def write() -> None:
        nonlocal written
        async with pages(run, filters) as found_pages:
            async for page in found_pages:
                sys.stdout.write("".join(f"{encode(letter).decode()}\n" for letter in page))
                written += len(page)

    asyncio.run(write())
    run.printer().say(f"{written:,} letters.")
