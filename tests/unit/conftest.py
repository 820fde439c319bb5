"""What unit tests may ask for: a second version of `model.metrics`, whose events name a unit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import msgspec
import pytest

from schemas import evolution, registry
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
    family = registry.family_of("model.metrics")
    both = replace(family, versions={**family.versions, 2: MetricWithUnit})
    monkeypatch.setitem(registry._BY_TOPIC, family.topic, both)
    monkeypatch.setitem(evolution.UPCASTERS, (family.name, 1), _with_unit)
    codecs._codec.cache_clear()
    yield
    monkeypatch.undo()
    codecs._codec.cache_clear()
