"""What the event in progress, or the window that closes, writes, sends and owes. It joins the next commit
as a whole or is dropped (docs/protocols/stream_agents.md, E3 and E4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from streams.core.types import OutboundRecord
from streams.engine.state.keyed import KeyedTable


@dataclass(slots=True)
class Staged:
    tables: list[KeyedTable] = field(default_factory=list)
    sent: list[OutboundRecord] = field(default_factory=list)
    facts: list[Callable[[], None]] = field(default_factory=list)
    """each owes a row"""

    def write(self, table: KeyedTable) -> None:
        if table not in self.tables:
            self.tables.append(table)

    def seal(self) -> None:
        """Seal all tables before `join` changes any. Raises as `KeyedTable.seal`."""
        for table in self.tables:
            table.seal()

    def join(self, records: list[OutboundRecord]) -> None:
        """Cannot fail after `seal`. What is sent joins ``records``."""
        for table in self.tables:
            table.join()
        self.tables.clear()
        records += self.sent
        self.sent.clear()
        for owe in self.facts:
            owe()
        self.facts.clear()

    def drop(self) -> None:
        self.drop_writes()
        self.sent.clear()
        self.facts.clear()

    def drop_writes(self) -> None:
        for table in self.tables:
            table.drop()
        self.tables.clear()
