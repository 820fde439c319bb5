"""`dia doctor`: defects of this installation, each with the next command."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from streams.cli.doctor.finding import DoctorFinding, FindingLevel
from streams.cli.invocation import invocation
from streams.cli.watchable import watchable
from streams.core.errors import DependencyUnreachable, DiaError
from streams.core.settings import Settings
from streams.engine.health.finding import Severity

if TYPE_CHECKING:
    from streams.core.topics.topology import Topology

_LEVELS = {
    Severity.WARNING: FindingLevel.WARNING,
    Severity.UNKNOWN: FindingLevel.UNREACHABLE,
    Severity.RED: FindingLevel.FAILURE,
}
_UNKNOWN = DoctorFinding(
    "pipeline",
    FindingLevel.WARNING,
    "lag and owners are unknown: Kafka does not answer",
    "dia status",
)


def register(app: typer.Typer) -> None:
    app.command()(doctor)


@watchable
def doctor(ctx: typer.Context) -> None:
    """Check this machine, the settings, and every address in them.

    Exit code 4 when an address does not answer, or topics or the lag of a group are unknown, 1 when this
    machine cannot run dia or the pipeline is unhealthy (as in `dia status`).

    Example: dia doctor
    """
    from streams.cli.doctor import broker_check, machine, reach

    run = invocation(ctx)
    reached = asyncio.run(reach.examine(run.settings, run.topology))
    kafka_away = any(
        one.check == "kafka" and one.level is FindingLevel.UNREACHABLE for one in reached
    )
    findings = [
        *machine.examine(run.settings),
        *reached,
        *([_UNKNOWN] if kafka_away else _pipeline(run.settings, run.topology)),
        *(
            []
            if kafka_away
            else asyncio.run(broker_check.examine_topics(run.settings, run.topology))
        ),
        *([] if kafka_away else asyncio.run(broker_check.examine_keys(run.settings, run.topology))),
    ]
    run.printer().rows(
        ["check", "level", "detail", "next"],
        [[found.check, found.level.value, found.detail, found.mend] for found in findings],
    )
    conclude(findings)


def _pipeline(settings: Settings, topology: Topology) -> list[DoctorFinding]:
    """Findings of the health rule. Empty without Kafka."""
    from streams.cli.health import health_of
    from streams.engine.health.live_workers import live_workers

    if not settings.kafka_bootstrap:
        return []
    health = health_of(settings, topology, live_workers(settings.state_path()))
    found = [
        DoctorFinding(
            f"{one.subject}: {one.code}", _LEVELS[one.severity], one.fields()["detail"], one.mend
        )
        for one in health.findings
    ]
    if not found:
        detail = f"{health.lag_records} records unread, every partition has an owner"
        found.append(DoctorFinding("pipeline", FindingLevel.OK, detail))
    return found


def conclude(findings: Sequence[DoctorFinding]) -> None:
    """Raise the error of the worst finding, if any."""
    unreachable = [found.check for found in findings if found.level is FindingLevel.UNREACHABLE]
    if unreachable:
        raise DependencyUnreachable(
            f"{', '.join(unreachable)} not reachable. The next command stands beside each."
        )
    failed = [found.check for found in findings if found.level is FindingLevel.FAILURE]
    if failed:
        raise DiaError(
            f"dia is not well here: {', '.join(failed)}. The next command stands beside each."
        )
