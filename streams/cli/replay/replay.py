"""`dia replay`: plans and replays dead letters, and shows the results."""

from __future__ import annotations

import asyncio
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from streams.cli.command_group import command_group
from streams.cli.dead_letters.filters import filtered
from streams.cli.invocation import invocation
from streams.cli.replay.plan import plan as make_plan
from streams.cli.replay.policies import policies
from streams.cli.terminal.operator import Actor, Reason, Yes, actor_of, consent
from streams.cli.watchable import watchable

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from streams.cli.invocation import Invocation
    from streams.cli.terminal.output import Printer
    from streams.core.rows.built_in_tables import ShardSet
    from streams.operate.replay.plan.plan import ReplayPlan
    from streams.operate.replay.run.partition_run import RunContext
    from streams.operate.replay.run.run import RunResult

CONFIRM_FROM = 1000
"""smaller plans need no consent"""
MANY = 50_000
"""From here on rare garbage collection pays off."""
_INTERRUPTED = 130

_Rate = Annotated[
    float | None, typer.Option(min=0.01, metavar="R", help="Letters a second; default: all.")
]
_PlanId = Annotated[str, typer.Argument(metavar="PLAN", help="The id of the plan.")]


def register(app: typer.Typer) -> None:
    group = command_group("Replay dead letters, each exactly once.")
    group.command("plan")(filtered(make_plan))
    group.command("run")(run)
    group.command("submit")(submit)
    group.command("resume")(resume)
    group.command("pause")(pause)
    group.command("cancel")(cancel)
    group.command("status")(status)
    group.command("policies")(policies)
    app.add_typer(group, name="replay")


def run(
    ctx: typer.Context,
    *,
    plan: Annotated[
        Path, typer.Option(metavar="FILE", help="The file that `dia replay plan` wrote.")
    ],
    rate: _Rate = None,
    yes: Yes = False,
    actor: Actor = None,
) -> None:
    """Do exactly what the plan lists. Repeating it changes nothing.

    It may be killed at any moment: the journal holds the progress, and `dia replay resume`
    continues. Exit code 3 when dead letters are left, 5 when the plan is refused: edited, of
    another cluster, paused, or beside another plan of its topic.

    Example: dia replay run --plan fix.json --rate 200
    """
    from streams.operate.replay.plan import plan as plans

    _run(invocation(ctx), plans.read(plan), rate, actor_of(actor), yes=yes, resume=False)


def submit(
    ctx: typer.Context,
    *,
    plan: Annotated[
        Path, typer.Option(metavar="FILE", help="The file that `dia replay plan` wrote.")
    ],
    rate: _Rate = None,
    yes: Yes = False,
    actor: Actor = None,
) -> None:
    """Submit a plan to the workers that run the replay agent (`dia worker --agents replay`).

    Example: dia replay submit --plan fix.json --rate 200
    """
    from streams.operate.replay.plan import plan as plans
    from streams.operate.replay.run.run import submit as enter

    invoked = invocation(ctx)
    found = plans.read(plan)
    _confirm(found, yes=yes)

    async def hand_over() -> None:
        await enter(_means(invoked, rate, actor_of(actor), None), found)

    asyncio.run(hand_over())
    invoked.printer().record({"plan": found.id, "topic": found.source, "letters": found.letters})
    invoked.printer().say(f"entered. `dia replay status {found.id}` shows how far it is.")


def resume(ctx: typer.Context, plan: _PlanId, *, rate: _Rate = None, actor: Actor = None) -> None:
    """Continue a plan that was paused, stopped or killed; the worker continues a submitted one.

    Example: dia replay resume 19a4f3c2b1d-7f3a --rate 200
    """
    from streams.cli.clients import broker_of
    from streams.operate.replay.journal.control import find_plan, plan_in

    invoked = invocation(ctx)
    _, found = asyncio.run(find_plan(broker_of(invoked.settings), plan, invoked.topology.topics))
    if any(standing.by_agent for standing in found.values()):
        _tell(invoked, plan, "resume", actor_of(actor), "", rate)
        return
    _run(invoked, plan_in(found), rate, actor_of(actor), yes=True, resume=True)


def pause(ctx: typer.Context, plan: _PlanId, *, reason: Reason = "", actor: Actor = None) -> None:
    """Stop a running plan on any host; replayed records stay replayed.

    Example: dia replay pause 19a4f3c2b1d-7f3a --reason "too fast for the shards"
    """
    _tell(invocation(ctx), plan, "pause", actor_of(actor), reason)


def cancel(ctx: typer.Context, plan: _PlanId, *, reason: Reason = "", actor: Actor = None) -> None:
    """End a plan for good; dead letters that it did not reach stay open.

    Example: dia replay cancel 19a4f3c2b1d-7f3a
    """
    _tell(invocation(ctx), plan, "cancel", actor_of(actor), reason)


@watchable
def status(
    ctx: typer.Context,
    plan: Annotated[
        str | None, typer.Argument(metavar="[PLAN]", help="One plan; default: every one.")
    ] = None,
) -> None:
    """The progress of each plan, by partition, from its journal.

    Example: dia replay status
    """
    from streams.cli.clients import broker_of
    from streams.cli.replay.report import show_standings
    from streams.core.errors import UsageError
    from streams.operate.replay.journal.control import journals

    invoked = invocation(ctx)
    known = asyncio.run(journals(broker_of(invoked.settings), invoked.topology.topics))
    found = [
        (source, number, standing)
        for source, partitions in known.items()
        for number, journal in enumerate(partitions)
        for standing in journal.plans.values()
        if plan in (None, standing.plan)
    ]
    found.sort(key=lambda one: (one[0].name, one[2].plan, one[1]))
    if plan is not None and not found:
        raise UsageError(f"there is no plan {plan} here. `dia replay status` lists all.")
    show_standings(invoked.printer(), found)


def _confirm(plan: ReplayPlan, *, yes: bool) -> None:
    if yes or plan.letters < CONFIRM_FROM:
        return
    consent(f"Replay {plan.letters:,} letters to {plan.terms.target or plan.source}?")


def _means(
    invoked: Invocation,
    rate: float | None,
    actor: str,
    shards: ShardSet | None,
    seen: Callable[[int], None] = lambda count: None,
) -> RunContext:
    from streams.cli.clients import broker_of
    from streams.core.clock import SystemClock
    from streams.operate.replay.run.partition_run import RunContext

    return RunContext(
        broker=broker_of(invoked.settings),
        shards=shards,
        clock=SystemClock(),
        settings=invoked.settings,
        topology=invoked.topology,
        actor=actor,
        run=secrets.token_hex(8),
        rate=rate,
        seen=seen,
    )


def _run(
    invoked: Invocation,
    plan: ReplayPlan,
    rate: float | None,
    actor: str,
    *,
    yes: bool,
    resume: bool,
) -> None:
    from streams.cli.replay.report import Eta, show_result
    from streams.core.process import process_memory

    _confirm(plan, yes=yes)
    if plan.letters >= MANY:
        process_memory.settle()
    printer = invoked.printer()
    began = time.monotonic()
    with printer.progress("replaying", total=plan.letters, unit="letters") as bar:
        eta = Eta(bar, plan.letters)
        work = _work(invoked, plan, rate, actor, eta.seen, resume=resume)
        result = _interruptible(printer, plan, work)
    show_result(printer, plan, result, time.monotonic() - began)


async def _work(
    invoked: Invocation,
    plan: ReplayPlan,
    rate: float | None,
    actor: str,
    seen: Callable[[int], None],
    *,
    resume: bool,
) -> RunResult:
    from streams.cli.clients import shards_of
    from streams.operate.replay.run.run import run_plan

    shards = await shards_of(invoked.settings, invoked.app.topology)
    try:
        return await run_plan(_means(invoked, rate, actor, shards, seen), plan, resume=resume)
    finally:
        if shards is not None:
            await shards.close()


def _interruptible(
    printer: Printer, plan: ReplayPlan, work: Coroutine[Any, Any, RunResult]
) -> RunResult:
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        printer.warn(
            f"interrupted between two steps; every letter is where its journal says. "
            f"`dia replay resume {plan.id}` continues it."
        )
        raise typer.Exit(_INTERRUPTED) from None


def _tell(
    invoked: Invocation,
    plan: str,
    word: Literal["pause", "resume", "cancel"],
    actor: str,
    reason: str,
    rate: float | None = None,
) -> None:
    from streams.cli.clients import broker_of
    from streams.cli.replay.report import show_standings
    from streams.core.clock import SystemClock
    from streams.operate.replay.journal.control import find_plan, tell

    broker, topology = broker_of(invoked.settings), invoked.topology

    async def say() -> Any:
        source, found = await find_plan(broker, plan, topology.topics)
        return source, await tell(
            broker, SystemClock(), topology, source, found, word, actor, reason, rate
        )

    source, found = asyncio.run(say())
    show_standings(invoked.printer(), [(source, number, s) for number, s in sorted(found.items())])
