"""Collects the effects of a partition's next commit while folding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from streams.core.rows.built_in_tables import commit_version
from streams.core.rows.clickhouse_table import ClickHouseTable
from streams.core.rows.row_sink import DeclaredSink
from streams.core.rows.targets import RowTarget
from streams.engine.agents.agent import Change
from streams.engine.runtime.effects import effects
from streams.engine.runtime.effects.dead_letters import Row
from streams.engine.runtime.effects.effects import has_days, owes_days
from streams.engine.state.outbox import Outbox

MAX_EVENTS = 50
"""events kept for one name in one commit, the newest ones"""


@dataclass(slots=True)
class Owed:
    dead: list[Row] = field(default_factory=list)
    _rows: dict[str, tuple[RowTarget, dict[object, Row]]] = field(default_factory=dict)
    _changes: dict[tuple[str, str], Change] = field(default_factory=dict)
    _settled_rows: int = 0

    def __bool__(self) -> bool:
        return bool(self.dead or self._rows or self._changes)

    def fact(self, target: RowTarget, row: Row, name: str | None) -> None:
        owed = self._rows.get(target.name)
        if owed is None:
            owed = self._rows[target.name] = target, {}
        rows = owed[1]
        if isinstance(target, DeclaredSink):
            key: object = len(rows) if name is None else name
        else:
            # Of the epoch, which is in some keys too, a commit has one.
            key = tuple(map(row.__getitem__, target.order_by))
        rows[key] = row

    def owes(
        self,
        tables: Mapping[str, ClickHouseTable],
        outbox: Outbox,
        first_day: int,
        last_day: int,
    ) -> bool:
        """Whether it, or the outbox, has a row of `app.windows` of these UTC days, in days since 1970."""
        staged = any(
            has_days((row[target.day_of] for row in rows.values()), first_day, last_day)
            for target, rows in self._rows.values()
            if isinstance(target, ClickHouseTable) and target.day_of
        )
        return staged or owes_days(tables, outbox.owed(), first_day, last_day)

    def change(self, change: Change) -> None:
        before = self._changes.get((change.cache, change.name))
        if before is not None:
            events = (before.events + change.events)[-MAX_EVENTS:]
            change = replace(change, events=events)
        self._changes[change.cache, change.name] = change

    def taken_rows(self) -> int:
        """Rows that were settled since the last call."""
        taken, self._settled_rows = self._settled_rows, 0
        return taken

    def settle(self, outbox: Outbox, epoch: int, seq: int, now_ms: int) -> None:
        version = commit_version(epoch, seq)
        self._settled_rows += len(self.dead) + sum(len(rows) for _, rows in self._rows.values())
        dead, self.dead = self.dead, []
        owed, self._rows = self._rows, {}
        changes, self._changes = self._changes, {}
        if dead:
            for effect in effects.dead_letters(seq, dead):
                outbox.put(*effect)
        for name, (target, rows) in owed.items():
            stamp = {"ver": version, "at": now_ms}
            encode = effects.sink_rows if isinstance(target, DeclaredSink) else effects.facts
            if not isinstance(target, DeclaredSink) and target.in_epoch:
                stamp["epoch"] = epoch
            for effect in encode(seq, name, list(rows.values()), stamp):
                outbox.put(*effect)
        for change in changes.values():
            outbox.put(*effects.cache_effect(change, version))
