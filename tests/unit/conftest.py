"""What unit tests may ask for: a second version of `model.metrics`, whose events name a unit."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from agents.app import MODEL_METRICS
from schemas.fields import EventTimeMs, Finite, Name
from streams import codecs


class MetricWithUnit(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What `ModelMetric` could become."""

    event_id: Name | None = None
    tenant_id: Name
    model_id: Name
    metric: Name
    ts: EventTimeMs
    value: Finite
    run_id: Name | None = None
    unit: Name


def _with_unit(event: object) -> MetricWithUnit:
    return MetricWithUnit(**msgspec.structs.asdict(event), unit="1")


@pytest.fixture
def second_version(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Version 2 is published, and version 1 is upcast to it."""
    monkeypatch.setitem(MODEL_METRICS.versions, 2, MetricWithUnit)
    monkeypatch.setitem(MODEL_METRICS.upcasters, 1, _with_unit)
    codecs._reader.cache_clear()
    yield
    monkeypatch.undo()
    codecs._reader.cache_clear()
