"""`dia topics tail` and `dia topics search`: the messages of a topic."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from streams.cli.invocation import Invocation, invocation
from streams.cli.terminal.output_form import OutputForm

if TYPE_CHECKING:
    from streams.core.types import TopicPartition
    from streams.operate.messages.log_bound import LogBound
    from streams.operate.messages.message import TopicMessage
    from streams.operate.messages.message_filter import MessageFilter
    from streams.operate.messages.selection import TopicMessages

_VALUE_SHOWN = 100

_Topic = Annotated[str, typer.Argument(metavar="TOPIC", help="As `dia topics list` shows.")]
_Tenant = Annotated[str | None, typer.Option(metavar="ID", help="Only events of this tenant.")]
_Key = Annotated[str | None, typer.Option(metavar="KEY", help="Record key; 0x.. for bytes.")]
_Partition = Annotated[int | None, typer.Option(metavar="N", min=0, help="Only this partition.")]
_Where = Annotated[
    str | None,
    typer.Option(metavar="EXPR", help="Fields: amount > 10 and account == ada; ~ contains."),
]
_Code = Annotated[
    str | None, typer.Option(metavar="CODE", help="Error code, of a topic of dead letters.")
]
_Contains = Annotated[
    str | None, typer.Option(metavar="TEXT", help="Key, value or a header contains it.")
]
_From = Annotated[
    str | None,
    typer.Option("--from", metavar="WHEN", help="-2h, an ISO time (UTC), or an offset."),
]
_Until = Annotated[str | None, typer.Option("--to", metavar="WHEN", help="As --from; exclusive.")]
_Timeout = Annotated[str, typer.Option(metavar="SPAN", help="Read at most so long.")]


def register(group: typer.Typer) -> None:
    group.command("tail")(tail)
    group.command("search")(search)


def tail(
    ctx: typer.Context,
    topic: _Topic,
    *,
    lines: Annotated[
        int, typer.Option("-n", "--lines", metavar="N", min=0, max=10_000, help="Newest messages.")
    ] = 10,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", "-f", help="Go on with new messages.")
    ] = True,
    tenant: _Tenant = None,
    key: _Key = None,
    partition: _Partition = None,
    start: _From = None,
    where: _Where = None,
    code: _Code = None,
    contains: _Contains = None,
    timeout: _Timeout = "30s",
) -> None:
    """The newest messages of a topic, newest first, then new ones as they come.

    Reads committed records without a group, decoded by the codec of the topic. Ends at ^C. Control
    characters are escaped.

    Example: dia topics tail model.metrics --tenant acme --where 'value > 0.9'
    """
    run = invocation(ctx)
    lines_of = _Lines(run)
    chosen = _filter(tenant, key, code, contains, where)
    asked = _Asked(topic, chosen, partition, _bound(start, "--from"), _bound(None, "--to"))
    with suppress(KeyboardInterrupt):
        asyncio.run(_tail(run, asked, lines, lines_of, _seconds(timeout), follow=follow))


def search(
    ctx: typer.Context,
    topic: _Topic,
    *,
    start: _From = None,
    until: _Until = None,
    tenant: _Tenant = None,
    key: _Key = None,
    partition: _Partition = None,
    where: _Where = None,
    code: _Code = None,
    contains: _Contains = None,
    limit: Annotated[
        int, typer.Option(metavar="N", min=1, max=1_000_000, help="At most so many messages.")
    ] = 100,
    timeout: _Timeout = "60s",
) -> None:
    """Search a range of a topic, oldest first, and say what was searched.

    The range ends at the records that are committed now. --contains, --code and --key pass over
    batches that cannot match before they are decoded. Exit code 6 when nothing was found, 3 when
    the time was over first, or nothing was found and a batch could not be opened.

    Example: dia topics search orders --from -1h --contains o-4711
    """
    run = invocation(ctx)
    lines_of = _Lines(run)
    chosen = _filter(tenant, key, code, contains, where)
    bounds = _bound(start, "--from"), _bound(until, "--to")
    asked = _Asked(topic, chosen, partition, *bounds)
    with run.printer().progress("searched", unit="offsets") as bar:
        done = asyncio.run(_search(run, asked, limit, lines_of, _seconds(timeout), bar.advance))
    _say_searched(run, done)
    _conclude(done, lines_of.shown)


class _Asked(NamedTuple):
    topic: str
    filter: MessageFilter
    partition: int | None
    start: LogBound
    until: LogBound


class _Lines:
    """Prints messages. ``shown`` counts them."""

    def __init__(self, run: Invocation) -> None:
        self._form = run.form
        self._printer = run.printer()
        self.shown = 0

    def show(self, messages: Sequence[TopicMessage]) -> None:
        for message in messages:
            self.shown += 1
            if self._form is OutputForm.JSON:
                self._printer.record(message.fields())
            elif self._form is OutputForm.CSV:
                fields = message.fields()
                self._printer.rows(list(fields), [list(fields.values())], heads=self.shown == 1)
            else:
                print(_line(message, wide=self._form is OutputForm.WIDE), flush=True)


def _line(message: TopicMessage, *, wide: bool) -> str:
    from streams.cli.terminal.payload import moment, shown
    from streams.core.words.printable import printable

    value = shown(message.value)
    if not wide and len(value) > _VALUE_SHOWN:
        value = f"{value[:_VALUE_SHOWN]}..."
    why = message.code or message.refusal.partition(":")[0]
    parts = [
        moment(message.at_ms),
        f"{message.tp.partition}/{message.offset}",
        shown(message.key),
        *([f"[{printable(why)}]"] if why else []),
        value,
    ]
    if wide:
        parts += [f"{printable(name)}={shown(raw)}" for name, raw in message.headers]
    return "  ".join(parts)


async def _tail(
    run: Invocation,
    asked: _Asked,
    lines: int,
    shown: _Lines,
    seconds: float,
    *,
    follow: bool,
) -> None:
    from streams.cli.clients import admin_and_reader
    from streams.core.process import process_memory

    process_memory.settle()  # as `dia trace`
    async with admin_and_reader(run.settings) as (admin, reader):
        reading = _reading(run, asked, reader)
        found = await reading.ranges(await admin.describe_topics())
        if lines:
            deadline_s = reading.clock.monotonic() + seconds
            shown.show(await reading.newest(found, lines, deadline_s))
            for one in found:
                for first, until in one.unreadable:
                    _say_unreadable(run, one.tp, first, until)
            if reading.late:
                run.printer().say(
                    "older messages were not read: the limit of time or offsets was reached. "
                    "`dia topics search` reads a range."
                )
        if follow:
            async for messages in reading.follow(found, partial(_say_unreadable, run)):
                shown.show(messages)


async def _search(
    run: Invocation,
    asked: _Asked,
    limit: int,
    shown: _Lines,
    seconds: float,
    progress: Callable[[int], None],
) -> TopicMessages:
    from streams.cli.clients import admin_and_reader
    from streams.core.process import process_memory

    process_memory.settle()  # as `dia trace`
    async with admin_and_reader(run.settings) as (admin, reader):
        reading = _reading(run, asked, reader)
        found = await reading.ranges(await admin.describe_topics())
        deadline_s = reading.clock.monotonic() + seconds
        await reading.search(found, limit, deadline_s, shown.show, progress)
        return reading


def _reading(run: Invocation, asked: _Asked, reader: Any) -> TopicMessages:
    from streams.core.clock import SystemClock
    from streams.engine.decode.codecs import Limits
    from streams.operate.messages.selection import TopicMessages

    settings = run.settings
    return TopicMessages(
        asked.topic,
        asked.filter,
        run.topology,
        Limits(settings.future_max_s, settings.late_max_s),
        SystemClock(),
        reader,
        asked.start,
        asked.until,
        asked.partition,
    )


def _filter(
    tenant: str | None, key: str | None, code: str | None, contains: str | None, where: str | None
) -> MessageFilter:
    from streams.core.words.naming import named
    from streams.core.words.record_key import record_key
    from streams.operate.messages.condition import Condition
    from streams.operate.messages.message_filter import MessageFilter

    return MessageFilter(
        tenant=None if tenant is None else named(tenant, "--tenant"),
        key=None if key is None else record_key(key),
        code=code,
        text=contains or None,
        where=None if where is None else Condition.parse(where),
    )


def _bound(text: str | None, option: str) -> LogBound:
    from streams.operate.messages.log_bound import log_bound

    return log_bound(text, option, time.time())


def _seconds(text: str) -> float:
    from streams.core.words.moments import span_s

    return float(span_s(text, "--timeout"))


def _say_searched(run: Invocation, done: TopicMessages) -> None:
    printer = run.printer()
    for one in done.searched:
        printer.say(
            f"searched {one.tp}: offsets {one.start} to {one.reached} of {one.start} to {one.end}; "
            f"the log holds {one.log_begin} to {one.log_end}"
        )
        for first, until in one.unreadable:
            _say_unreadable(run, one.tp, first, until)
    if done.full:
        printer.say("the number of messages (--limit) was reached: these offsets may hold more.")


def _say_unreadable(run: Invocation, tp: TopicPartition, first: int, until: int) -> None:
    run.printer().say(f"{tp}: offsets {first} to {until - 1} cannot be opened, so not read")


def _conclude(done: TopicMessages, shown: int) -> None:
    """Raises `PartialResult` and `NotFoundThere`."""
    from streams.core.command_errors import NotFoundThere
    from streams.core.errors import PartialResult

    if done.late:
        raise PartialResult(
            "the time limit ended the search: see above. Give --from, --key, --partition "
            "or a longer --timeout."
        )
    if not shown and not all(one.whole for one in done.searched):
        raise PartialResult(
            f"no message of {done.topic} was found, but not every batch could be read: see above."
        )
    if not shown:
        raise NotFoundThere(
            f"no message of {done.topic} in the offsets above is as asked; retention has deleted "
            "what lay before them."
        )
