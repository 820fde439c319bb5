"""model.metrics -> minute windows per tenant, model and metric -> ClickHouse m1, h1, d1.

In: `ModelMetric`s, partitioned by tenant. State: `seen_events` (a repeated event id is dropped,
one with another payload is a dead letter `idempotency_conflict`) and `minute_windows`.
Out: rows of the windows; nothing is produced to Kafka but dead letters.
"""

from __future__ import annotations

import numpy as np

from schemas.metric import ModelMetric
from streams.agent import EventBatch, Scope
from streams.bad_records import IdempotencyConflict
from tables import MINUTE_WINDOWS, SEEN_EVENTS
from tables.seen_events import Verdict


def aggregate_metrics(batch: EventBatch[ModelMetric], scope: Scope) -> None:
    """Drop repeats, refuse conflicts, fold the rest."""
    windows, seen = scope.table(MINUTE_WINDOWS), scope.table(SEEN_EVENTS)
    events, offsets = batch.events, batch.offsets()
    keys = windows.names.keys(
        [event.tenant_id for event in events],
        [event.model_id for event in events],
        [event.metric for event in events],
    )
    values = np.array([event.value for event in events], np.float64)
    prints = scope.fingerprints
    tenants, series = prints.series(windows.names, keys)
    hi, lo = prints.identities(
        [event.event_id for event in events], tenants, batch.column("values")
    )
    said = prints.payloads(series, batch.event_ms, values, [event.run_id for event in events])
    appended_ms = batch.appended_ms()
    verdicts = seen.admit(hi, lo, said, offsets, appended_ms, batch.log())
    fresh = verdicts == Verdict.FRESH
    windows.fold(
        keys[fresh], batch.event_ms[fresh], values[fresh], offsets[fresh], appended_ms[fresh]
    )
    conflicts = np.flatnonzero(verdicts == Verdict.CONFLICT).tolist()
    for index in conflicts:
        event = events[index]
        scope.dead_letter(
            batch.row(index),
            IdempotencyConflict.code,
            f"event_id {event.event_id!r} came before with another payload within DIA_DEDUPE_TTL_S",
            event.tenant_id,
        )
    applied = int(fresh.sum())
    scope.count(applied=applied, duplicates=len(events) - applied - len(conflicts))
