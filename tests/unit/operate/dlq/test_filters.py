"""Selection of dead letters: a wrong filter would replay the wrong records."""

from __future__ import annotations

import pytest

from agents.app import app
from streams.core.types import RecordBatch, TopicPartition
from streams.operate.dlq.dead_letter import letters
from streams.operate.dlq.filters import Filters, OffsetRange
from streams.operate.dlq.scan import OffsetSpan

TP = TopicPartition("model.metrics.dlq", 2)


def letter(offset=7, key=b"acme", failed=5_000, code="wrong_type", **extra):
    fields = {
        "id": "model.metrics/2/41",
        "topic": "model.metrics",
        "partition": "2",
        "offset": "41",
        "error_code": code,
        "first_failed_at": str(failed),
    }
    pairs = tuple((f"dia.dlq.{name}", value.encode()) for name, value in fields.items())
    own = tuple((name.replace("_", "."), value) for name, value in extra.items())
    batch = RecordBatch(TP, offset, offset + 1, [offset], [1], [key], [b"{}"], [own + pairs])
    return letters(batch, app.topology)[0]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, True),
        ({"topics": ("model.metrics",)}, True),
        ({"topics": ("model.metrics.dlq",)}, True),
        ({"topics": ("train.results",)}, False),
        ({"errors": ("invalid_json", "wrong_type")}, True),
        ({"errors": ("invalid_json",)}, False),
        ({"tenants": ("acme",)}, True),
        ({"tenants": ("other",)}, False),
        ({"keys": (b"acme",)}, True),
        ({"keys": (b"acm",)}, False),
        ({"partitions": (1, 2)}, True),
        ({"partitions": (1,)}, False),
        ({"offsets": (OffsetRange(0, 3), OffsetRange(7, 7))}, True),
        ({"offsets": (OffsetRange(0, 6),)}, False),
        ({"since_ms": 5_000, "until_ms": 5_001}, True),
        ({"since_ms": 5_001}, False),
        ({"until_ms": 5_000}, False),
        ({"oldest_ms": 5_000}, True),
        ({"oldest_ms": 5_001}, False),
        ({"schema_versions": (1,)}, True),
        ({"schema_versions": (2,)}, False),
        ({"errors": ("wrong_type",), "tenants": ("other",)}, False),
    ],
)
def test_every_condition_must_hold(given, wanted):
    """Conditions are combined with AND."""
    assert Filters(**given).matches(letter()) is wanted
    assert Filters(**given).select([letter()]) == ([letter()] if wanted else [])


def test_the_schema_version_is_that_of_the_record():
    """After an upcaster is deployed, exactly the records of the old version are selected."""
    assert Filters(schema_versions=(3,)).matches(letter(dia_schema=b"3"))
    assert not Filters(schema_versions=(1,)).matches(letter(dia_schema=b"three"))


def test_a_too_old_record_differs_from_an_unselected_one():
    """A plan lists the records that --max-age excludes; records that --error excludes were never
    selected.
    """
    filters = Filters(oldest_ms=6_000)
    assert filters.selects(letter())
    assert filters.too_old(letter())
    assert not filters.matches(letter())


def test_partitions_that_cannot_match_are_not_fetched():
    """A filter by partition reads no other partition of a large DLQ."""
    spans = [OffsetSpan(TopicPartition("d", n), 10, 100) for n in range(3)]
    filters = Filters(partitions=(1,), offsets=(OffsetRange(5, 20), OffsetRange(40, 50)))
    assert filters.narrow(spans) == [OffsetSpan(TopicPartition("d", 1), 10, 51)]
    assert Filters(offsets=(OffsetRange(0, 9),)).narrow(spans) == []
    assert Filters().narrow(spans) == spans
