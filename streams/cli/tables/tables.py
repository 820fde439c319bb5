"""`dia tables`: the state of every partition, and the reset of a stopped one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.command_group import command_group
from streams.cli.invocation import invocation
from streams.cli.tables import outbox, undeclared, windows
from streams.cli.tables.choice import changelogs, source_of
from streams.cli.terminal.operator import Yes, consent
from streams.cli.terminal.payload import moment
from streams.cli.watchable import watchable
from streams.connect.broker.opened import opened

if TYPE_CHECKING:
    from streams.cli.invocation import Invocation
    from streams.cli.terminal.output import Printer
    from streams.core.topics.topic import Topic
    from streams.engine.runtime.restore.survey import Survey
    from streams.operate.reset.reset import Opening

_COLUMNS = (
    *("group", "topic", "partition", "epoch", "seq", "next_offset", "read", "applied"),
    *("duplicates", "dead", "shed", "gaps", "last_append", "watermark", "live_bytes", "log_bytes"),
    *("changelog_start", "changelog_end", "written", "fault"),
)
_DETAIL = frozenset(_COLUMNS) - {"topic", "partition", "next_offset", "applied", "dead", "fault"}


def register(app: typer.Typer) -> None:
    group = command_group("The state of every partition, and resets.")
    group.command("list")(show)
    group.command("reset")(reset)
    outbox.register(group)
    undeclared.register(group)
    windows.register(group)
    app.add_typer(group, name="tables")


@watchable
def show(ctx: typer.Context) -> None:
    """The state of each partition, read from its changelog.

    Counters are those of the epoch; bytes are changelog entries, uncompressed.

    Example: dia tables list
    """
    run = invocation(ctx)
    run.printer().rows(_COLUMNS, asyncio.run(_surveys(run)), _DETAIL)


def reset(
    ctx: typer.Context,
    *,
    group: Annotated[str, typer.Option(help="Consumer group.")],
    topic: Annotated[str, typer.Option(help="Source topic.")],
    partition: Annotated[int, typer.Option(min=0, help="Its partition.")],
    resume_at_start: Annotated[
        bool,
        typer.Option(
            "--resume-at-start", help="Continue at the start of the log, whatever is lost."
        ),
    ] = False,
    yes: Yes = False,
) -> None:
    """Open a new epoch of a stopped partition: empty tables, from the committed offset on.

    For changelog_lost, changelog_gap, source_truncated and topic_recreated (which starts at the
    beginning of the new topic). The command fences the partition's owner; a worker that had stopped
    the partition opens it again after a restart. Exit code 5 when nothing is wrong with the
    partition, when a live worker takes it back, or without consent.

    Example: dia tables reset --group dia-group --topic model.metrics --partition 2
    """
    run = invocation(ctx)
    printer = run.printer()
    source = source_of(run, group, topic)
    agreed = asyncio.run(_plan(run, source, group, partition, resume_at_start=resume_at_start))
    _explain(run, printer, agreed)
    if not yes:
        consent("Reset it?")
    opened = asyncio.run(_apply(run, agreed))
    link, standing = opened.link, opened.standing
    fields = {
        "group": group,
        "topic": topic,
        "partition": partition,
        "cause": standing.cause.code if standing.cause is not None else "",
        "epoch": link.epoch,
        "next_offset": link.next_offset,
    }
    printer.record(fields)
    printer.say("done. Restart the worker that had stopped it, if one runs (`dia status`).")


async def _plan(
    run: Invocation, source: Topic, group: str, partition: int, *, resume_at_start: bool
) -> Opening:
    from streams.cli.clients import broker_of
    from streams.operate.reset.reset import look, open_epoch

    standing = await look(
        broker_of(run.settings), group, source, partition, run.app.topology.targets
    )
    return open_epoch(standing, resume_at_start=resume_at_start)


def _explain(run: Invocation, printer: Printer, opening: Opening) -> None:
    from streams.operate.reset.consequences import consequences

    printer.say(f"stopped by {_sentence(opening)}")
    standing = opening.standing
    agent = next(
        one
        for one in run.app.agents.values()
        if (one.group, one.source.name) == (standing.group, standing.source.name)
    )
    for sentence in consequences(opening, run.settings, agent):
        printer.say(f"  {sentence}")


def _sentence(opening: Opening) -> str:
    cause = opening.standing.cause
    assert cause is not None, "a reset needs a stopped partition"
    return f"{cause.code}: {cause}"


async def _apply(run: Invocation, agreed: Opening) -> Opening:
    from streams.cli.clients import broker_of
    from streams.core.clock import SystemClock
    from streams.operate.reset.reset import reset as reset_partition

    return await reset_partition(broker_of(run.settings), SystemClock(), agreed)


async def _surveys(run: Invocation) -> list[tuple[Any, ...]]:
    from streams.cli.clients import broker_of
    from streams.engine.runtime.restore.survey import survey

    broker = broker_of(run.settings)
    async with opened(broker.reader()) as reader:
        return [
            _row(group, topic, await survey(reader, changelog))
            for group, topic, changelog in await changelogs(run, broker)
        ]


def _row(group: str, topic: str, found: Survey) -> tuple[Any, ...]:
    link = found.last
    fault = found.faults[0].code if found.faults else None
    bounds = (found.begin_offset, found.end_offset)
    if link is None:
        nothing = [None] * 10
        return (
            group,
            topic,
            found.changelog.partition,
            *nothing,
            *(None, 0, 0),
            *bounds,
            None,
            fault,
        )
    counters = link.counters
    return (
        *(group, topic, found.changelog.partition, link.epoch, link.seq, link.next_offset),
        *(counters.read, counters.applied, counters.duplicates, counters.dead),
        *(counters.shed, counters.gaps),
        *(_moment(link.last_append_ms), _moment(link.watermark_ms)),
        *(found.live_bytes, found.log_bytes, *bounds, _moment(found.written_ms), fault),
    )


def _moment(at_ms: int) -> str | None:
    return moment(at_ms) if at_ms > 0 else None
