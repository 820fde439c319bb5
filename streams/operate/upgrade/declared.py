"""Topics and tables as this version declares them, against those that are there."""

from __future__ import annotations

from collections.abc import Iterable

from streams.connect.sinks.migration import MigrationStanding, MigrationState
from streams.operate.topics.topics import TopicPlan
from streams.operate.upgrade.upgrade_finding import UpgradeFinding, UpgradeState

_SHOWN_MAX = 4


def examine_topics(planned: TopicPlan) -> UpgradeFinding:
    """A topic that would become smaller is refused: this version would serve fewer partitions."""
    if planned.refused:
        names = _some({change.topic for change in planned.refused})
        detail = f"would become smaller: {names}"
        return UpgradeFinding("topics", UpgradeState.REFUSED, detail, "dia topics plan")
    if planned.to_do:
        names = _some({change.topic for change in planned.to_do})
        detail = f"not as this version declares them: {names}"
        return UpgradeFinding("topics", UpgradeState.TO_DO, detail, "dia topics apply")
    return UpgradeFinding("topics", UpgradeState.READY, f"{len(planned.wanted)} topics are there")


def examine_tables(server: str, standings: Iterable[MigrationStanding]) -> UpgradeFinding:
    """A migration that this version does not know was run by a newer one, whose tables an older version
    must not change."""
    by_state: dict[MigrationState, set[str]] = {}
    for standing in standings:
        by_state.setdefault(standing.state, set()).add(standing.label)
    for state, meaning in (
        (MigrationState.UNKNOWN, "run by a newer version"),
        (MigrationState.CHANGED, "changed since they were run"),
    ):
        if state in by_state:
            detail = f"{server}: migrations {meaning}: {_some(by_state[state])}"
            return UpgradeFinding("tables", UpgradeState.REFUSED, detail, "dia migrate status")
    if waiting := by_state.get(MigrationState.PENDING):
        detail = f"{server}: migrations to run: {_some(waiting)}"
        return UpgradeFinding("tables", UpgradeState.TO_DO, detail, "dia migrate apply")
    return UpgradeFinding("tables", UpgradeState.READY, f"{server} has the tables of this version")


def _some(names: set[str]) -> str:
    shown = sorted(names)[:_SHOWN_MAX]
    more = f" and {len(names) - _SHOWN_MAX} more" if len(names) > _SHOWN_MAX else ""
    return ", ".join(shown) + more
