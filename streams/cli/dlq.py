"""`dia dlq`: dead letters by what they have in common, one by one, and as a file."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli import breaker, disposal
from streams.cli.invocation import invocation
from streams.cli.letter_filters import filtered
from streams.cli.letter_reading import clients, decided, pages
from streams.cli.payload import moment, printable

if TYPE_CHECKING:
    from streams.cli.invocation import Invocation
    from streams.cli.letter_sheet import Sheet
    from streams.dlq.filters import Filters
    from streams.dlq.letter import Letter
    from streams.dlq.tally import Group, Tally
    from streams.replay.decided import Decided

LISTED_MAX = 100
"""Letters of one table, unless --limit asks for more."""
GROUPS_SHOWN = 20
"""Of one section, where several are printed."""
_MESSAGE_SHOWN = 100

_SECTIONS = ("error", "tenant", "agent", "age")
DISPOSITION = "disposition"
_COLUMNS = ("failed", "error", "tenant", DISPOSITION, "hops", "bytes", "id", "message")
_JSON_COLUMNS = (*_COLUMNS, "stage", "agent", "place")


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        no_args_is_help=True,
        help="Dead letters: what they have in common, what each holds, would it pass now.",
    )
    group.command("stats")(filtered(stats))
    group.command("list")(filtered(show_list))
    group.command("show")(show)
    group.command("export")(filtered(export))
    group.command("discard")(filtered(disposal.discard))
    group.command("park")(filtered(disposal.park))
    breaker.register(group)
    app.add_typer(group, name="dlq")


def stats(
    ctx: typer.Context,
    *,
    by: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD",
            help="Group by: error, tenant, agent, age, topic, stage, "
            "dialect or schema. Repeated: by each combination.",
        ),
    ] = None,
    filters: Filters,
) -> None:
    """Count dead letters by error code, tenant, agent and age.

    Example: dia dlq stats --topic model.metrics --since 6h --by error --by tenant
    """
    from streams.dlq.tally import FIELDS, Tally
    from streams.errors import UsageError

    run = invocation(ctx)
    known = {*FIELDS, DISPOSITION}
    for field in by or ():
        if field not in known:
            raise UsageError(
                f"--by {field} is no field. Letters have {', '.join((*FIELDS, DISPOSITION))}."
            )
    now_ms = round(time.time() * 1000)
    wanted = [tuple(by)] if by else [(field,) for field in _SECTIONS]
    total = Tally((), now_ms)
    tallies: list[Tally] = []

    async def count() -> None:
        found = await decided(run) if DISPOSITION in (by or ()) else None
        more = {DISPOSITION: lambda letter, _: _decision(found, letter)}
        tallies.extend(Tally(fields, now_ms, more) for fields in wanted)
        async for page in pages(run, filters):
            total.add(page)
            for tally in tallies:
                tally.add(page)

    asyncio.run(count())
    _print_tallies(run, total, tallies)


def show_list(ctx: typer.Context, *, filters: Filters) -> None:
    """One line per dead letter, oldest offset first; --json streams them all.

    Example: dia dlq list --topic model.metrics --error wrong_type --limit 20
    """
    run = invocation(ctx)
    printer = run.printer()
    if filters.limit is None and not run.json:
        filters = replace(filters, limit=LISTED_MAX)
    rows: list[tuple[Any, ...]] = []

    async def collect() -> None:
        found = await decided(run)
        async for page in pages(run, filters):
            if run.json:
                printer.rows(_JSON_COLUMNS, [_fields(letter, found) for letter in page])
            else:
                rows.extend(_cells(letter, found) for letter in page)

    asyncio.run(collect())
    if run.json:
        return
    printer.rows(_COLUMNS, rows)
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
    """Everything about one dead letter: headers, value, why it failed, would it pass now.

    Example: dia dlq show model.metrics/2/41
    """
    from streams.errors import CommandError

    run = invocation(ctx)
    found = asyncio.run(_look(run, place))
    if found is None:
        raise CommandError(f"there is no dead letter {place}. `dia dlq list` shows what there is.")
    if run.json:
        run.printer().record(found.fields())
    else:
        for line in found.lines():
            print(line)


def export(ctx: typer.Context, *, filters: Filters) -> None:
    """Whole letters as JSON Lines on stdout; bytes that are no UTF-8 as base64.

    Example: dia dlq export --topic model.metrics --error invalid_json > letters.jsonl
    """
    from streams.dlq.export import encode

    run = invocation(ctx)
    written = 0

    async def write() -> None:
        nonlocal written
        async for page in pages(run, filters):
            sys.stdout.write("".join(f"{encode(letter).decode()}\n" for letter in page))
            written += len(page)

    asyncio.run(write())
    run.printer().say(f"{written:,} letters.")


async def _look(run: Invocation, place: str) -> Sheet | None:
    from streams.cli.letter_sheet import Sheet
    from streams.codecs import Limits
    from streams.dlq.pointer import refetch
    from streams.dlq.queues import find
    from streams.dlq.verdict import verdicts
    from streams.errors import RecordLost, UnknownTopic
    from streams.replay.decided import Decision, history

    limits = Limits(run.settings.future_max_s, run.settings.late_max_s)
    async with clients(run) as (admin, reader):
        letter = await find(admin, reader, place)
        if letter is None:
            return None
        [verdict] = await verdicts(reader, [letter], limits)
        original = letter.original()
        if letter.pointer is not None:
            with suppress(RecordLost):  # the verdict says so
                original = await refetch(reader, letter)
        decisions: list[Decision] = []
        with suppress(UnknownTopic):  # nothing was ever decided where there is no journal
            decisions = await history(reader, letter)
        return Sheet(letter, original, verdict, decisions)


def _print_tallies(run: Invocation, total: Tally, tallies: list[Tally]) -> None:
    printer = run.printer()
    if run.json:
        for tally in (total, *tallies):
            for group in tally.groups():
                named = dict(zip(tally.fields, group.names, strict=True))
                printer.record(
                    {
                        "by": ",".join(tally.fields) or "all",
                        **named,
                        **_counted(group, "milliseconds"),
                    }
                )
        return
    found = total.groups()
    if not found:
        printer.say("no dead letters there.")
        return
    for index, tally in enumerate(tallies):
        if index:
            print()
        groups = tally.groups()
        shown = groups if len(tallies) == 1 else groups[:GROUPS_SHOWN]
        columns = [*tally.fields, *_counted(shown[0])]
        printer.rows(columns, [[*map(printable, g.names), *_counted(g).values()] for g in shown])
        if len(shown) < len(groups):
            left = len(groups) - len(shown)
            printer.say(f"and {left:,} more: --by {tally.fields[0]} shows them all.")
    [everything] = found
    printer.say(
        f"{everything.letters:,} dead letters, {moment(everything.oldest_ms)} to "
        f"{moment(everything.newest_ms)}."
    )


def _counted(group: Group, timespec: str = "seconds") -> dict[str, Any]:
    return {
        "letters": group.letters,
        "oldest": moment(group.oldest_ms, timespec),
        "newest": moment(group.newest_ms, timespec),
    }


def _fields(letter: Letter, found: Decided) -> tuple[Any, ...]:
    """A line of the list, as `_JSON_COLUMNS`."""
    return (
        moment(letter.failed_ms),
        *(letter.error_code, letter.tenant, _decision(found, letter)),
        *(letter.hops, _size_bytes(letter), letter.id),
        *(letter.error_message, letter.stage, letter.agent, f"{letter.dlq}/{letter.offset}"),
    )


def _cells(letter: Letter, found: Decided) -> tuple[Any, ...]:
    """A line of the list for a reader, as `_COLUMNS`."""
    message = printable(letter.error_message)
    if len(message) > _MESSAGE_SHOWN:
        message = f"{message[:_MESSAGE_SHOWN]}..."
    return (
        moment(letter.failed_ms, "seconds"),
        *map(printable, (letter.error_code, letter.tenant, _decision(found, letter))),
        *(letter.hops, _size_bytes(letter), printable(letter.id), message),
    )


def _decision(found: Decided | None, letter: Letter) -> str:
    return (found.of(letter).word if found is not None else "") or "open"


def _size_bytes(letter: Letter) -> int:
    """Of the failed record's value, wherever it lies."""
    if letter.pointer is not None:
        return letter.pointer.value_bytes
    return len(letter.value or b"")
