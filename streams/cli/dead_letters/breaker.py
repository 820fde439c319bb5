"""`dia dlq breaker`: stopped partitions, their reset, and tenants in quarantine."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.command_group import command_group
from streams.cli.invocation import invocation
from streams.cli.terminal.operator import Actor, Yes, actor_of, consent
from streams.cli.terminal.payload import moment
from streams.cli.watchable import watchable
from streams.core.words.printable import printable

if TYPE_CHECKING:
    from typing import TypeAlias

    from streams.cli.invocation import Invocation
    from streams.core.types import TopicPartition
    from streams.engine.runtime.poison.quarantine_register import QuarantinedTenant, QuarantineWord
    from streams.operate.breaker.poison_admin import BreakerState

    _Held: TypeAlias = tuple[str, TopicPartition, QuarantineWord, QuarantinedTenant]

_COLUMNS = ("group", "topic", "partition", "state", "offset", "waiting", "bad", "records", "codes")
_DETAIL = ("offset", "bad", "records")
_JSON_COLUMNS = (*_COLUMNS, "at", "tenant", "until")


def register(parent: typer.Typer) -> None:
    group = command_group(
        "Partitions that stopped, and tenants in quarantine, because most records were bad."
    )
    group.command("list")(show)
    group.command("reset")(reset)
    parent.add_typer(group, name="breaker")


@watchable
def show(ctx: typer.Context) -> None:
    """Every stopped or resetting partition, on any host, and every tenant in quarantine.

    A quarantine ends automatically: the tenant's bad records become dead letters.

    Example: dia dlq breaker list"""
    run = invocation(ctx)
    printer = run.printer()
    found = asyncio.run(_states(run))
    held = asyncio.run(_quarantines(run))
    if run.json:
        rows = [(*_row(s), dict(s.word.codes), _at(s), None, None) for s in found]
        printer.rows(_JSON_COLUMNS, rows + [_held(one, {}) + _whose(one) for one in held])
    else:
        shown = [(*_row(s), _codes(s)) for s in found]
        printer.rows(_COLUMNS, shown + [_held(one, _stay(one)) for one in held], _DETAIL)
    if not found and not held:
        printer.say("the poison breaker stops nothing.")


def reset(
    ctx: typer.Context,
    *,
    topic: Annotated[
        str | None, typer.Option(metavar="NAME", help="Source topic; by default every one.")
    ] = None,
    partition: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Of --topic; by default every one.")
    ] = None,
    actor: Actor = None,
    yes: Yes = False,
) -> None:
    """Let the current records of a stopped partition pass: bad ones become dead letters.

    A running worker continues within seconds. Fix the producer or the schema first. If the code was
    wrong, deploy a fix instead: the restarted worker reads the records again. Exit code 5 when
    nothing is stopped, or without consent.

    Example: dia dlq breaker reset --topic model.metrics --partition 2"""
    from streams.core.errors import RefusedBySafety, UsageError

    run = invocation(ctx)
    printer = run.printer()
    if partition is not None and topic is None:
        raise UsageError("--partition needs the --topic that it is a partition of.")
    stopped = [
        state
        for state in asyncio.run(_states(run))
        if state.stopped
        and topic in (None, state.tp.topic)
        and partition in (None, state.tp.partition)
    ]
    if not stopped:
        raise RefusedBySafety(
            "the poison breaker stops nothing there. `dia dlq breaker list` shows what it stops, "
            "`dia status` what else stands still on this host."
        )
    for state in stopped:
        word = state.word
        printer.say(
            f"{state.tp} stands at offset {word.offset}: {word.bad} of {word.records} records were "
            f"bad ({_codes(state)}). {state.end - word.offset} offsets pass, the bad ones into {state.tp.topic}.dlq."
        )
    if not yes:
        consent("Let them through?")
    asyncio.run(_let_through(run, stopped, actor_of(actor)))
    printer.rows(("group", "topic", "partition", "passes_until"), map(_passed, stopped))


async def _states(run: Invocation) -> list[BreakerState]:
    from streams.cli import clients
    from streams.operate.breaker.poison_admin import states

    return await states(clients.broker_of(run.settings), run.topology)


async def _quarantines(run: Invocation) -> list[_Held]:
    from streams.cli import clients
    from streams.core.clock import SystemClock
    from streams.operate.breaker.poison_admin import quarantines

    found = await quarantines(clients.broker_of(run.settings), SystemClock(), run.topology)
    return [(group, tp, word, tenant) for group, tp, word in found for tenant in word.tenants]


async def _let_through(run: Invocation, stopped: list[BreakerState], actor: str) -> None:
    from streams.cli import clients
    from streams.core.clock import SystemClock
    from streams.operate.breaker.poison_admin import let_through

    broker = clients.broker_of(run.settings)
    for state in stopped:
        await let_through(broker, SystemClock(), state, actor)


def _row(state: BreakerState) -> tuple[Any, ...]:
    word = state.word
    offset = word.offset if state.stopped else state.committed
    waiting = (state.end if state.stopped else word.offset) - (offset or 0)
    return (
        state.group,
        *state.tp,
        "stopped" if state.stopped else f"passing until {word.offset}",
        offset,
        max(0, waiting),
        *((word.bad, word.records) if state.stopped else (None, None)),
    )


def _held(held: _Held, last: Any) -> tuple[Any, ...]:
    group, tp, _, tenant = held
    return (group, *tp, "quarantined", None, None, tenant.bad, tenant.records, last)


def _whose(held: _Held) -> tuple[Any, ...]:
    *_, word, tenant = held
    return (moment(word.at_ms), tenant.tenant, moment(tenant.until_ms))


def _stay(held: _Held) -> str:
    *_, word, tenant = held
    more = f", and {word.more} more tenants" if word.more else ""
    return f"tenant {printable(tenant.tenant)} until {moment(tenant.until_ms)}{more}"


def _codes(state: BreakerState) -> str:
    return ", ".join(f"{code} {count}" for code, count in state.word.codes.items())


def _at(state: BreakerState) -> str:
    return moment(state.word.at_ms)


def _passed(state: BreakerState) -> tuple[Any, ...]:
    return (state.group, *state.tp, state.end)
