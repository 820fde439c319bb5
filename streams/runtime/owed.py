"""What the next commit of a partition will owe the world outside Kafka, gathered while folding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from streams.agent import Change
from streams.dead_letters import Row
from streams.rows import commit_version
from streams.runtime import effects
from tables.outbox import Outbox

MAX_EVENTS = 50
"""Of one name in one commit: news, of which the newest matter."""


@dataclass(slots=True)
class Owed:
    """Facts and changes as `Scope` takes them, and the rows of dead letters."""

    dead: list[Row] = field(default_factory=list)
    _facts: dict[str, dict[object, Row]] = field(default_factory=dict)
    _changes: dict[tuple[str, str], Change] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.dead or self._facts or self._changes)

    def fact(self, table: str, row: Mapping[str, Any], name: str | None) -> None:
        """See `Scope.fact`."""
        rows = self._facts.setdefault(table, {})
        rows[name if name is not None else len(rows)] = dict(row)

    def change(self, change: Change) -> None:
        """See `Scope.change`."""
        before = self._changes.get((change.cache, change.name))
        if before is not None:
            events = (before.events + change.events)[-MAX_EVENTS:]
            change = replace(change, events=events)
        self._changes[change.cache, change.name] = change

    def settle(self, outbox: Outbox, epoch: int, seq: int, now_ms: int) -> None:
        """Put all of it into the outbox, for commit ``seq``; nothing is left here."""
        version = commit_version(epoch, seq)
        dead, self.dead = self.dead, []
        facts, self._facts = self._facts, {}
        changes, self._changes = self._changes, {}
        if dead:
            for effect in effects.dead_letters(seq, dead):
                outbox.put(*effect)
        for table, rows in facts.items():
            stamp = {"ver": version, "at": now_ms}
            if table in effects.IN_EPOCH:
                stamp["epoch"] = epoch
            stamped = [{**row, **stamp} for row in rows.values()]
            for effect in effects.facts(seq, table, stamped):
                outbox.put(*effect)
        for change in changes.values():
            outbox.put(*effects.cache_effect(change, version))
