"""`dia upgrade check`: what stands between this version and the state, topics and tables that are there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import typer

from streams.cli.command_group import command_group
from streams.cli.invocation import Invocation, invocation

if TYPE_CHECKING:
    from streams.operate.upgrade.upgrade_finding import UpgradeFinding

BROKER_TIMEOUT_S = 60.0


def register(app: typer.Typer) -> None:
    group = command_group("Before another version takes over.")
    group.command()(check)
    app.add_typer(group, name="upgrade")


def check(ctx: typer.Context) -> None:
    """Compare this version with what runs: settings, formats of the stored state, topics, tables. It
    changes nothing, and runs beside the workers.

    Run it with the new version, before its workers start. Exit code 0: they may. 2: a setting is unknown or
    invalid. 3: the named commands come first (the chart's jobs run them). 4: Kafka or a shard does not answer.
    5: this version cannot read the state, or topics or tables are those of a newer one.

    Example: dia upgrade check
    """
    run = invocation(ctx)
    detail = f"{sum(one.source != 'default' for one in run.provenance)} settings are known"
    findings = [*_settings(detail), *asyncio.run(_of_kafka(run)), *_of_clickhouse(run)]
    run.printer().rows(
        ["check", "state", "detail", "next"],
        [[one.check, one.state.value, one.detail, one.mend] for one in findings],
    )
    conclude(findings)


def conclude(findings: list[UpgradeFinding]) -> None:
    """Raise the error of the worst finding, if any."""
    from streams.core.errors import DependencyUnreachable, PartialResult, RefusedBySafety
    from streams.operate.upgrade.upgrade_finding import UpgradeState

    for state, error, meaning in (
        (UpgradeState.REFUSED, RefusedBySafety, "do not upgrade: {} is refused"),
        (UpgradeState.UNREACHABLE, DependencyUnreachable, "not compared: {}"),
        (UpgradeState.TO_DO, PartialResult, "before the workers of this version start: {}"),
    ):
        checks = sorted({one.check for one in findings if one.state is state})
        if checks:
            said = meaning.format(", ".join(checks))
            raise error(f"{said}. The next command stands beside each.")


def _settings(detail: str) -> list[UpgradeFinding]:
    from streams.operate.upgrade.upgrade_finding import UpgradeFinding, UpgradeState

    return [UpgradeFinding("settings", UpgradeState.READY, detail)]


async def _of_kafka(run: Invocation) -> list[UpgradeFinding]:
    from streams.cli.clients import broker_of
    from streams.connect.broker.opened import opened
    from streams.core.errors import BrokerUnavailable, RefusedBySafety, UnknownTopic
    from streams.core.types import TopicPartition
    from streams.operate.topics.declared_topics import declared_topics
    from streams.operate.upgrade.declared import examine_topics
    from streams.operate.upgrade.formats import examine_formats
    from streams.operate.upgrade.upgrade_finding import UpgradeFinding, UpgradeState

    broker = broker_of(run.settings)
    declared = declared_topics(run.settings, run.topology)
    try:
        async with asyncio.timeout(BROKER_TIMEOUT_S):
            async with opened(broker.admin()) as admin:
                present = await admin.describe_topics()
            names = {source.changelog(group) for group, source in run.topology.sources()}
            changelogs = [
                TopicPartition(name, partition)
                for name in sorted(names & present.keys())
                for partition in range(present[name].partitions)
            ]
            async with opened(broker.reader()) as reader:
                formats = await examine_formats(reader, changelogs)
        topics = examine_topics(declared.against(present))
    except RefusedBySafety as error:
        return [UpgradeFinding("topics", UpgradeState.REFUSED, str(error), "dia topics plan")]
    except (BrokerUnavailable, UnknownTopic, TimeoutError) as error:
        why = str(error) or f"Kafka gave no answer within {BROKER_TIMEOUT_S:g} s"
        return [UpgradeFinding("kafka", UpgradeState.UNREACHABLE, why, "dia status")]
    return [topics, *formats]


def _of_clickhouse(run: Invocation) -> list[UpgradeFinding]:
    from streams.cli.migrate import each_server
    from streams.core.errors import DependencyUnreachable
    from streams.operate.upgrade.declared import examine_tables
    from streams.operate.upgrade.upgrade_finding import UpgradeFinding, UpgradeState

    try:
        standings = each_server(run, lambda server: server.migrator.standings())
    except DependencyUnreachable as error:
        return [UpgradeFinding("clickhouse", UpgradeState.UNREACHABLE, str(error), "dia doctor")]
    return [examine_tables(server.replica.url, found) for server, found in standings]
