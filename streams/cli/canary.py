"""`dia canary check`: whether the workers of a new version do as well as the others."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.command_group import command_group
from streams.cli.invocation import Invocation, invocation

if TYPE_CHECKING:
    from streams.core.types import TopicPartition
    from streams.operate.canary.comparison import CanaryFigure, WatchedWorker
    from streams.operate.canary.measuring import CanaryChoice, WorkerViews

AUDIT_WAIT_S = 75.0


def register(app: typer.Typer) -> None:
    group = command_group("Whether an upgrade by parts may go on.")
    group.command()(check)
    app.add_typer(group, name="canary")


def check(
    ctx: typer.Context,
    *,
    worker: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A worker of the canary, as `dia-all-3/*`; repeatable."),
    ] = None,
    of_version: Annotated[
        list[str] | None,
        typer.Option("--of-version", metavar="V", help="All workers of a version; repeatable."),
    ] = None,
    partition: Annotated[
        list[str] | None,
        typer.Option(metavar="TOPIC/N", help="The worker that holds it; repeatable."),
    ] = None,
    window: Annotated[str, typer.Option(metavar="SPAN", help="How long both are watched.")] = "10m",
    least: Annotated[
        int, typer.Option(min=1, help="Rows and records that each side must have had.")
    ] = 1000,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Metrics ports of the workers; default: DIA_WORKERS_AT, else this machine's.",
        ),
    ] = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Recount the partitions that commit meanwhile.")
    ] = False,
) -> None:
    """Compare the workers of the canary with the others over a window: freshness, dead letters, failed
    commits, stopped partitions, restarts, and the audit of the canary's partitions. It changes nothing.

    Exit code 0: every figure passes, the upgrade may go on. 1: a figure of the canary is worse: roll
    back. 4: a figure is not known, which is not a pass.

    Example: dia canary check --worker 'dia-all-3/*' --window 10m --deep
    """
    from streams.core.clock import SystemClock
    from streams.core.errors import UsageError
    from streams.core.words.moments import span_s
    from streams.operate.canary.measuring import CanaryChoice, WorkerViews

    run = invocation(ctx)
    choice = CanaryChoice(
        workers=worker or (),
        versions=of_version or (),
        partitions=frozenset(_partition(one) for one in partition or ()),
    )
    if not (choice.workers or choice.versions or choice.partitions):
        raise UsageError("Say which workers are the canary: --worker, --of-version or --partition.")
    window_s = span_s(window, "--window")
    clock = SystemClock()
    views = WorkerViews(run.settings, at or run.settings.workers_at, clock)

    canary, others = asyncio.run(_measure(run, views, choice, window_s))
    figures = asyncio.run(_judge(run, canary, others, least, deep=deep))
    run.printer().rows(
        ["figure", "verdict", "canary", "others", "detail"],
        [
            [one.name, one.verdict.name.lower(), one.canary, one.others, one.detail]
            for one in figures
        ],
    )
    conclude(figures)


def conclude(figures: Sequence[CanaryFigure]) -> None:
    """Exit code 1 if a figure is worse, 4 if one is unknown."""
    from streams.core.errors import CommandError, DependencyUnreachable
    from streams.operate.canary.comparison import CanaryVerdict, worst

    verdict = worst(figures)
    names = ", ".join(one.name for one in figures if one.verdict is verdict)
    if verdict is CanaryVerdict.WORSE:
        raise CommandError(
            f"the canary is worse: {names}. Do not go on with the upgrade; `helm rollback` brings the "
            f"former version back."
        )
    if verdict is CanaryVerdict.UNKNOWN:
        raise DependencyUnreachable(
            f"not known of the canary: {names}. Do not go on yet; run the command again, with a longer "
            f"--window where there was too little to compare."
        )


async def _measure(
    run: Invocation, views: WorkerViews, choice: CanaryChoice, window_s: int
) -> tuple[list[WatchedWorker], list[WatchedWorker]]:
    """The canary and the others. Without one of the two there is nothing to wait for."""
    from streams.core.clock import SystemClock
    from streams.operate.canary.measuring import watched

    first = await views.look()
    canary = [one for one in first if choice.takes(one)]
    others = [one for one in first if not choice.takes(one)]
    last = first
    if canary and others:
        names = ", ".join(one.name for one in canary)
        run.printer().say(f"watching {names} and {len(others)} others for {window_s} s")
        await SystemClock().sleep(window_s)
        last = await views.look({one.name for one in first})
    return watched(canary, last), watched(others, last)


async def _judge(
    run: Invocation,
    canary: Sequence[WatchedWorker],
    others: Sequence[WatchedWorker],
    least: int,
    *,
    deep: bool,
) -> list[CanaryFigure]:
    from streams.operate.canary.comparison import compare

    return [*compare(canary, others, least), await _audit(run, canary, deep=deep)]


async def _audit(run: Invocation, canary: Sequence[WatchedWorker], *, deep: bool) -> CanaryFigure:
    from streams.cli.clients import broker_of
    from streams.core.clock import SystemClock
    from streams.core.errors import BrokerUnavailable, DependencyUnreachable, UnknownTopic
    from streams.operate.audit.audit import AuditOptions, AuditReport, audit
    from streams.operate.canary.audited import judge_audit
    from streams.operate.canary.comparison import CanaryFigure, CanaryVerdict

    held = {
        one
        for worker in canary
        for view in (worker.first, worker.last)
        if view is not None
        for one in view.partitions()
    }
    if not held:
        return judge_audit(AuditReport(), held, deep=deep)
    options = AuditOptions(deep=deep, from_s=None, to_s=None, wait_s=AUDIT_WAIT_S)
    read = {(group, topic) for group, topic, _ in held}
    agents = [one for one in run.app.agents.values() if (one.group, one.source.name) in read]
    clock, say = SystemClock(), run.printer().say
    try:
        report = await audit(options, agents, run.settings, broker_of(run.settings), clock, say)
    except (DependencyUnreachable, BrokerUnavailable, UnknownTopic) as error:
        return CanaryFigure(name="audit", verdict=CanaryVerdict.UNKNOWN, detail=str(error))
    return judge_audit(report, held, deep=deep)


def _partition(text: str) -> TopicPartition:
    from streams.core.errors import UsageError
    from streams.core.types import TopicPartition

    topic, _, number = text.rpartition("/")
    if not topic or not number.isdecimal():
        raise UsageError(f'Invalid --partition "{text}": write TOPIC/N, as in orders/3.')
    return TopicPartition(topic, int(number))
