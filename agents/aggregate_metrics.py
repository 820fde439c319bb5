"""model.metrics -> minute windows per tenant, model and metric -> ClickHouse m1, h1, d1.

In: `ModelMetric`s, partitioned by tenant. State: `seen_events` (a repeated event id is dropped,
one with another payload is a dead letter `idempotency_conflict`) and `minute_windows`. What is beyond
a tenant's share of either is a dead letter `over_quota`.
Out: rows of the windows; nothing is produced to Kafka but dead letters.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.metric import ModelMetric
from streams import EventBatch, Scope
from streams.core.records.bad_records import IdempotencyConflict, TenantOverQuota
from streams.engine.engine_tables import MINUTE_WINDOWS, SEEN_EVENTS
from streams.engine.identities.id_shares import Owners
from streams.engine.identities.seen_events import Verdict
from streams.engine.windows.names import split

_IDS_OVER_QUOTA: Final = (
    "the tenant has its share of the event ids that the partition remembers (DIA_QUOTA_IDS, "
    "DIA_MAX_IDS); they are forgotten after DIA_DEDUPE_TTL_S"
)
_SERIES_OVER_QUOTA: Final = (
    "a series that is not alive, of a tenant that has its share of the partition's "
    "(DIA_QUOTA_SERIES, DIA_MAX_SERIES) or of new ones a minute (DIA_QUOTA_NEW_SERIES)"
)


def aggregate_metrics(batch: EventBatch[ModelMetric], scope: Scope) -> None:
    """Refuse what is over quota, drop repeats, refuse conflicts, fold the rest."""
    windows, seen = scope.table(MINUTE_WINDOWS), scope.table(SEEN_EVENTS)
    batch, keys = _within_quota(batch, scope)
    if not len(batch):
        return
    fields, offsets = batch.fields, batch.offsets()
    values = fields.numbers("value")
    prints = scope.fingerprints
    tenants, series = prints.series(windows.names, keys)
    hi, lo = prints.identities(fields.texts("event_id"), tenants, batch.values())
    said = prints.payloads(series, batch.event_ms, values, fields.texts("run_id"))
    appended_ms = batch.appended_ms()
    owners = Owners(split(keys)[0], windows.names.tenants.names)
    verdicts = seen.admit(hi, lo, said, appended_ms, batch.log(), owners)
    fresh = verdicts == Verdict.FRESH
    windows.fold(
        keys[fresh], batch.event_ms[fresh], values[fresh], offsets[fresh], appended_ms[fresh]
    )
    conflicts = np.flatnonzero(verdicts == Verdict.CONFLICT).tolist()
    for index in conflicts:
        event = batch.events[index]
        scope.dead_letter(
            batch.row(index),
            IdempotencyConflict.code,
            f"event_id {event.event_id!r} came before with another payload within DIA_DEDUPE_TTL_S",
            event.tenant_id,
        )
    over = np.flatnonzero(verdicts == Verdict.OVER_QUOTA).tolist()
    for index in over:
        scope.dead_letter(
            batch.row(index), TenantOverQuota.code, _IDS_OVER_QUOTA, batch.events[index].tenant_id
        )
    applied, refused = int(fresh.sum()), len(conflicts) + len(over)
    scope.count(applied=applied, duplicates=len(batch) - applied - refused)


def _within_quota(
    batch: EventBatch[ModelMetric], scope: Scope
) -> tuple[EventBatch[ModelMetric], NDArray[np.int64]]:
    """The events whose series their tenants may have, and the key of each. The others are dead
    letters, of which no id is remembered."""
    fields = batch.fields
    keys, refused = scope.table(MINUTE_WINDOWS).admit(
        fields.texts("tenant_id"),
        fields.texts("model_id"),
        fields.texts("metric"),
        batch.appended_ms(),
    )
    if refused is None:
        return batch, keys
    for index in np.flatnonzero(refused).tolist():
        scope.dead_letter(
            batch.row(index),
            TenantOverQuota.code,
            _SERIES_OVER_QUOTA,
            batch.events[index].tenant_id,
        )
    return batch.keep(~refused), keys[~refused]
