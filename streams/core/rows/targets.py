"""ClickHouse tables and sinks of one app, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from streams.core.records.bad_records import RowUnfit, UnknownTable
from streams.core.rows.clickhouse_table import ClickHouseTable
from streams.core.rows.operational_tables import OPERATIONAL
from streams.core.rows.row_sink import DeclaredSink

RowTarget: TypeAlias = ClickHouseTable | DeclaredSink
RowValues: TypeAlias = Mapping[str, Any]
"""A value for every declared column."""


@dataclass(frozen=True, slots=True)
class Targets:
    """A table and a sink never share a name."""

    tables: Mapping[str, ClickHouseTable] = field(default_factory=lambda: OPERATIONAL)
    sinks: Mapping[str, DeclaredSink] = field(default_factory=dict)

    def find(self, target: str | RowTarget) -> RowTarget:
        """Raises `UnknownTable`."""
        name = target if isinstance(target, str) else target.name
        found = self.tables.get(name) or self.sinks.get(name)
        if found is None:
            raise UnknownTable(f"the app declares no ClickHouse table or sink called {name!r}")
        return found

    def fitted(
        self, target: str | RowTarget, row: RowValues, name: str | None = None
    ) -> tuple[RowTarget, dict[str, Any]]:
        """The target, and the row as the outbox keeps it. Raises `UnknownTable`, and `RowUnfit` for
        a row that cannot be stored or a ``name`` that is no text."""
        found = self.find(target)
        if name is not None and not isinstance(name, str):
            raise RowUnfit(f"the name of a row of {found.name!r} is text, not {name!r:.80}")
        return found, found.fit(row)
