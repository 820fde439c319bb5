"""Dead letters as lines of a list, and groups of them as counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streams.cli.terminal.payload import moment
from streams.core.words.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.cli.invocation import Invocation
    from streams.operate.dlq.dead_letter import DeadLetterRecord
    from streams.operate.dlq.tally import DeadLetterGroup, DeadLetterTally
    from streams.operate.replay.journal.decided import Decided

DISPOSITION = "disposition"
COLUMNS = (
    *("failed", "error", "tenant", DISPOSITION, "hops", "bytes", "id", "message"),
    *("stage", "agent", "place"),
)
DETAIL = ("hops", "bytes", "stage", "agent", "place")
GROUPS_SHOWN = 20
"""of one section, with several sections"""
_MESSAGE_SHOWN = 100


def print_tallies(
    run: Invocation, total: DeadLetterTally, tallies: Sequence[DeadLetterTally]
) -> None:
    """``total`` has one group, or none; each of several tallies shows its largest groups."""
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


def _counted(group: DeadLetterGroup, timespec: str = "seconds") -> dict[str, Any]:
    return {
        "letters": group.letters,
        "oldest": moment(group.oldest_ms, timespec),
        "newest": moment(group.newest_ms, timespec),
    }


def fields(letter: DeadLetterRecord, found: Decided) -> tuple[Any, ...]:
    """The cells of `COLUMNS`."""
    return (
        moment(letter.failed_ms),
        *(letter.error_code, letter.tenant, decision(found, letter)),
        *(letter.hops, _size_bytes(letter), letter.id),
        *(letter.error_message, letter.stage, letter.agent, f"{letter.dlq}/{letter.offset}"),
    )


def cells(letter: DeadLetterRecord, found: Decided) -> tuple[Any, ...]:
    """`fields`, for people to read: times to the second, a message of one line."""
    message = printable(letter.error_message)
    if len(message) > _MESSAGE_SHOWN:
        message = f"{message[:_MESSAGE_SHOWN]}..."
    return (
        moment(letter.failed_ms, "seconds"),
        *map(printable, (letter.error_code, letter.tenant, decision(found, letter))),
        *(letter.hops, _size_bytes(letter), printable(letter.id), message),
        *map(printable, (letter.stage, letter.agent, f"{letter.dlq}/{letter.offset}")),
    )


def decision(found: Decided | None, letter: DeadLetterRecord) -> str:
    return (found.of(letter).word if found is not None else "") or "open"


def _size_bytes(letter: DeadLetterRecord) -> int:
    """Of the failed record's value, wherever it is stored."""
    if letter.pointer is not None:
        return letter.pointer.value_bytes
    return len(letter.value or b"")
