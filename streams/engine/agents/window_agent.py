"""The agent of all windows of one topic: turns batches into columns, and refuses records.

A refused record leaves no id behind, so its replay is not a duplicate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from streams.core.errors import UsageError
from streams.core.records.bad_records import TenantOverQuota, ValueRefused, WindowClosed
from streams.core.topics.topic import Topic, tenant_name
from streams.engine.agents.agent import AgentSpec, EventBatch, Scope
from streams.engine.agents.job_agent import Agent
from streams.engine.agents.repeats import refused_ids
from streams.engine.agents.window_events import EventIds, tenants_of, window_keys, window_values
from streams.engine.aggregates.aggregate import FieldType, FieldValues
from streams.engine.aggregates.field_columns import Refused
from streams.engine.engine_tables import HELD_WINDOWS, SEEN_EVENTS
from streams.engine.identities.id_shares import Owners
from streams.engine.identities.seen_events import Verdict
from streams.engine.streams.window_aggregates import AggregatedWindows
from streams.engine.windows.aggregated.aggregate_table import AggregateTable, WindowBatch
from streams.engine.windows.aggregated.state_shares import refused_rows
from streams.engine.windows.aggregated.window_keys import BatchKeys

_By: TypeAlias = tuple[str, ...]
"""The fields of a key."""
_Causes: TypeAlias = dict[int, tuple[str, str]]
"""Code and message of each refused record, by its index in the batch."""


class WindowScope(Scope, Protocol):
    def before_ms(self, batch: EventBatch[Any]) -> NDArray[np.int64]:
        """The watermark before each event of ``batch``."""
        ...

    def dropped(self, records: int) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowAgent(AgentSpec):
    windows: tuple[AggregatedWindows, ...]


def windows_of(agent: Agent) -> tuple[AggregatedWindows, ...]:
    return agent.windows if isinstance(agent, WindowAgent) else ()


def window_agent(
    name: str, topic: Topic, group: str, windows: tuple[AggregatedWindows, ...]
) -> WindowAgent:
    ids = windows[0].ids
    if other := [one for one in windows if one.ids != ids]:
        raise UsageError(
            f"windows {other[0].name!r} have ids={other[0].ids!r}, but others of {topic.name} have "
            f"{ids!r}. Give all windows of a topic the same ids."
        )
    types = {name: kind for one in windows for name, kind in one.types.items()}
    read = dict.fromkeys(name for one in windows for f in one.fold.values() for name in f.fields)
    folding = _Folding(
        windows,
        types,
        {name: types[name] for name in read},
        EventIds(topic, ids) if ids else None,
        topic.tenant_field is not None,
    )
    return WindowAgent(
        name=name,
        source=topic,
        group=group,
        tables=(*(one.spec for one in windows), HELD_WINDOWS, *([SEEN_EVENTS] if ids else [])),
        process=folding.fold,
        columns=True,
        ids=ids,
        windows=windows,
    )


class _Folding(NamedTuple):
    """``types``: of all fields that are read; ``values``: of those that are aggregated. ``named``: events may
    name a tenant."""

    windows: tuple[AggregatedWindows, ...]
    types: Mapping[str, FieldType]
    values: Mapping[str, FieldType]
    ids: EventIds | None
    named: bool

    def fold(self, batch: EventBatch[Any], scope: Scope) -> None:
        partition = cast(WindowScope, scope)
        bad: Refused = {}
        fields = window_values(batch, self.values, bad)
        keys = {
            by: window_keys(batch, by, self.types, bad)
            for by in dict.fromkeys(one.by for one in self.windows)
        }
        before_ms = partition.before_ms(batch)
        tables = [scope.table(one.spec) for one in self.windows]
        late = [table.late(batch.event_ms, before_ms) for table in tables]
        refused: _Causes = {row: (ValueRefused.code, why) for row, why in bad.items()}
        self._refuse_late(batch, late, before_ms, refused)
        kept = np.ones(len(batch), np.bool_)
        kept[[*refused]] = False
        whole = self._batches(batch, keys, before_ms, fields)
        self._refuse_over_share(tables, whole, late, kept, refused)
        repeats = self._repeats(batch, scope, kept, refused)
        for row, (code, why) in sorted(refused.items()):
            scope.dead_letter(batch.row(row), code, why, tenant_name(batch.events[row]))
        for declared, table, behind in zip(self.windows, tables, late, strict=True):
            fits = kept & ~behind
            if fits.any():
                every = whole[declared.by]
                table.fold(every if fits.all() else every.take(np.flatnonzero(fits)))
            partition.dropped(int((kept & behind).sum()))
        scope.count(applied=len(batch) - len(refused) - repeats, duplicates=repeats)

    def _refuse_late(
        self,
        batch: EventBatch[Any],
        late: list[NDArray[np.bool_]],
        before_ms: NDArray[np.int64],
        refused: _Causes,
    ) -> None:
        for declared, behind in zip(self.windows, late, strict=True):
            if declared.late == "dead_letter":
                for row in np.flatnonzero(behind).tolist():
                    why = _late(declared, int(batch.event_ms[row]), int(before_ms[row]))
                    refused.setdefault(row, (WindowClosed.code, why))

    def _batches(
        self,
        batch: EventBatch[Any],
        keys: Mapping[_By, BatchKeys],
        before_ms: NDArray[np.int64],
        fields: Mapping[str, FieldValues],
    ) -> dict[_By, WindowBatch]:
        times, tenants = (batch.event_ms, batch.offsets(), before_ms), tenants_of(batch)
        return {by: WindowBatch(found, *times, fields, tenants) for by, found in keys.items()}

    def _refuse_over_share(
        self,
        tables: list[AggregateTable],
        whole: Mapping[_By, WindowBatch],
        late: list[NDArray[np.bool_]],
        kept: NDArray[np.bool_],
        refused: _Causes,
    ) -> None:
        """Remove records from ``kept`` that add to the states of any table beyond the share of their
        tenant. Ids are judged later, so a replay of such a record is not a repeat."""
        short = [
            (table, whole[declared.by], np.flatnonzero(kept & ~behind))
            for declared, table, behind in zip(self.windows, tables, late, strict=True)
            if not table.suffices(int((kept & ~behind).sum()), whole[declared.by])
        ]
        tenants = next(iter(whole.values())).tenants
        if not short or not (
            self.named or any(map(tenants.__getitem__, np.flatnonzero(kept).tolist()))
        ):
            return
        sure = not self.windows[0].ids
        checks = [table.share_check(every, rows, sure=sure) for table, every, rows in short]
        for row, why in refused_rows(checks, np.flatnonzero(kept).tolist(), tenants):
            refused[row] = (TenantOverQuota.code, why)
            kept[row] = False

    def _repeats(
        self, batch: EventBatch[Any], scope: Scope, kept: NDArray[np.bool_], refused: _Causes
    ) -> int:
        """Remove records from ``kept`` by their ids; the number of repeats."""
        rows = np.flatnonzero(kept)
        if self.ids is None or not len(rows):
            return 0
        some = batch if kept.all() else batch.keep(kept)
        found, seen = self.ids.of(some, scope.fingerprints), scope.table(SEEN_EVENTS)
        owners = Owners(found.owner, found.owners)
        appended_ms = some.appended_ms()
        verdicts = seen.admit(found.hi, found.lo, found.said, appended_ms, some.log(), owners)
        kept[rows[verdicts != Verdict.FRESH]] = False
        for index, code, why in refused_ids(some, self.windows[0].ids, verdicts):
            refused[int(rows[index])] = (code, why)
        return int((verdicts == Verdict.DUPLICATE).sum())


def _late(declared: AggregatedWindows, event_ms: int, before_ms: int) -> str:
    return (
        f"the event time {event_ms} ms is in closed windows of {declared.name!r}: the watermark "
        f"was {before_ms} ms, and their grace is {declared.grace_ms / 1000:g} s. Give them a "
        "longer grace, or late='drop'"
    )
