"""What a model measured: one observation of one metric."""

from __future__ import annotations

from msgspec import Struct

from streams.core.records.fields import EventTimeMs, Finite, Name


class ModelMetric(Struct, frozen=True, gc=False, kw_only=True):
    """One value of one metric of one model, at one moment.

    ``event_id`` is the idempotency key; where it is absent (or null), the hash of the record's
    bytes takes its place.
    """

    event_id: Name | None = None
    tenant_id: Name
    model_id: Name
    metric: Name
    ts: EventTimeMs
    value: Finite
    run_id: Name | None = None
