"""The health rule (streams/engine/health) for commands."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from streams.core.errors import CommandError, DependencyUnreachable

if TYPE_CHECKING:
    from streams.cli.terminal.output import Printer
    from streams.core.settings import Settings
    from streams.core.topics.topology import Topology
    from streams.engine.health.live_workers import LiveWorker
    from streams.engine.health.rule import Health


def health_of(settings: Settings, topology: Topology, workers: Sequence[LiveWorker]) -> Health:
    """Raises `DependencyUnreachable` without a broker address."""
    from streams.cli import clients
    from streams.core.clock import SystemClock
    from streams.engine.health.live_workers import member_prefix
    from streams.engine.health.observing import observe
    from streams.engine.health.rule import judge

    observed = observe(
        clients.broker_of(settings),
        topology.read,
        workers,
        SystemClock(),
        local_members=member_prefix(settings.state_path()),
    )
    return judge(asyncio.run(observed))


def show(printer: Printer, health: Health) -> None:
    """Lag of each group by topic, and each finding with its next command."""
    print()
    printer.rows(["group", "topic", "partitions", "owned", "unread"], _lag_rows(health))
    if health.findings:
        print()
        rows = [list(finding.fields().values()) for finding in health.findings]
        printer.rows(["code", "severity", "subject", "detail", "next"], rows)


def conclude(health: Health) -> None:
    """Exit code 1 for red, 4 for unknown."""
    from streams.engine.health.finding import Severity

    words = ", ".join(
        f"{one.code} ({one.subject})" for one in health.findings if one.severity is health.verdict
    )
    if health.verdict is Severity.RED:
        raise CommandError(f"the pipeline is unhealthy: {words}. The next commands are above.")
    if health.verdict is Severity.UNKNOWN:
        raise DependencyUnreachable(f"the health of the pipeline is unknown: {words}.")


def _lag_rows(health: Health) -> list[list[Any]]:
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in health.partitions:
        found.setdefault((row["group"], row["topic"]), []).append(row)
    return [
        [
            group,
            topic,
            len(rows),
            sum(row["owner"] is not None for row in rows),
            "unknown"
            if any(row["lag"] is None for row in rows)
            else sum(row["lag"] for row in rows),
        ]
        for (group, topic), rows in sorted(found.items())
    ]
