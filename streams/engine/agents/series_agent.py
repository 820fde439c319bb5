"""The agent of windows that reopen (streams/engine/streams/series_windows.py).

State: `seen_events` (a repeated id is dropped, one with another payload is a dead letter
`idempotency_conflict`) and `minute_windows`. What is beyond a tenant's share of either is a dead letter
`over_quota`. Out: rows of the windows; nothing is produced to Kafka but dead letters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.core.records.bad_records import TenantOverQuota
from streams.core.records.event_fields import EventFields, Texts
from streams.core.topics.topic import tenant_name
from streams.engine.agents.agent import AgentSpec, EventBatch, Scope
from streams.engine.agents.repeats import refused_ids
from streams.engine.engine_tables import MINUTE_WINDOWS, SEEN_EVENTS
from streams.engine.identities.id_shares import Owners
from streams.engine.identities.seen_events import Verdict
from streams.engine.streams.series_windows import SeriesWindows
from streams.engine.windows.minutes.names import split

_SERIES_OVER_QUOTA: Final = (
    "a series that is not alive, of a tenant that has its share of the partition's "
    "(DIA_QUOTA_SERIES, DIA_MAX_SERIES) or of new ones a minute (DIA_QUOTA_NEW_SERIES)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesAgent(AgentSpec):
    series: SeriesWindows


def series_agent(name: str, group: str, series: SeriesWindows) -> SeriesAgent:
    return SeriesAgent(
        name=name,
        source=series.topic,
        group=group,
        tables=(SEEN_EVENTS, MINUTE_WINDOWS),
        process=_Folding(series).fold,
        columns=True,
        ids=series.ids,
        series=series,
    )


class _Folding(NamedTuple):
    series: SeriesWindows

    def fold(self, batch: EventBatch[Any], scope: Scope) -> None:
        """Refuse what is over quota, drop repeats, refuse conflicts, fold the rest."""
        windows, seen = scope.table(MINUTE_WINDOWS), scope.table(SEEN_EVENTS)
        batch, keys = self._within_quota(batch, scope)
        if not len(batch):
            return
        fields, offsets = batch.fields, batch.offsets()
        values = fields.numbers(self.series.value)
        prints = scope.fingerprints
        tenants, series = prints.series(windows.names, keys)
        hi, lo = prints.identities(fields.texts(self.series.ids), tenants, batch.values())
        said = prints.payloads(series, batch.event_ms, values, self._told_apart_by(fields, batch))
        appended_ms = batch.appended_ms()
        owners = Owners(split(keys)[0], windows.names.tenants.names)
        verdicts = seen.admit(hi, lo, said, appended_ms, batch.log(), owners)
        fresh = verdicts == Verdict.FRESH
        windows.fold(
            keys[fresh], batch.event_ms[fresh], values[fresh], offsets[fresh], appended_ms[fresh]
        )
        refused = 0
        for index, code, why in refused_ids(batch, self.series.ids, verdicts):
            scope.dead_letter(batch.row(index), code, why, tenant_name(batch.events[index]))
            refused += 1
        applied = int(fresh.sum())
        scope.count(applied=applied, duplicates=len(batch) - applied - refused)

    def _told_apart_by(self, fields: EventFields, batch: EventBatch[Any]) -> Texts:
        name = self.series.told_apart_by
        nothing: Sequence[str | None] = [None] * len(batch)
        return fields.texts(name) if name else nothing

    def _within_quota(
        self, batch: EventBatch[Any], scope: Scope
    ) -> tuple[EventBatch[Any], NDArray[np.int64]]:
        """The events whose series their tenants may have, and the key of each. The others are dead
        letters, of which no id is remembered."""
        tenants, models, metrics = map(batch.fields.texts, self.series.by)
        table = scope.table(MINUTE_WINDOWS)
        keys, refused = table.admit(tenants, models, metrics, batch.appended_ms())
        if refused is None:
            return batch, keys
        for index in np.flatnonzero(refused).tolist():
            scope.dead_letter(
                batch.row(index),
                TenantOverQuota.code,
                _SERIES_OVER_QUOTA,
                tenant_name(batch.events[index]),
            )
        return batch.keep(~refused), keys[~refused]
