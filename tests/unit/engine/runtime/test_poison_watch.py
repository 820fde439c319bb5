"""The tenants that the poison breaker counts, taken from the events."""

from __future__ import annotations

import json

import pytest

from streams import App, Record
from streams.core.clock import SystemClock
from streams.core.settings import Settings
from streams.core.types import RecordBatch, TopicPartition
from streams.engine.runtime.poison.poison_watch import PoisonWatch


class Reading(Record):
    sensor: str
    tenant_id: str | None = None


class Numbered(Record):
    sensor: str
    tenant_id: int = 7


def _app(value_type):
    app = App("plant")
    readings = app.topic("readings", value_type=value_type, key_field="sensor", partitions=1)
    totals = app.Table("totals", default=int)

    @app.agent(readings)
    async def count(stream):
        async for reading in stream:
            totals[reading.sensor] += 1

    return app, readings, totals


@pytest.mark.parametrize("value_type", [Reading, Numbered])
def test_one_bad_record_beside_events_of_no_or_a_numbered_tenant_does_not_stop_the_partition(
    app_tester, value_type
):
    """The field `tenant_id` may be optional or a number: one invalid record must not stop the
    partition.
    """
    app, readings, totals = _app(value_type)
    tester = app_tester(app)
    tester.send(readings, b"garbage", key="s")
    tester.send(readings, value_type(sensor="s"))
    assert tester.table(totals) == {"s": 1}
    assert len(tester.dead_letters) == 1


@pytest.mark.parametrize(
    "event", [Reading(sensor="s", tenant_id="n" * 5000), Numbered(sensor="s", tenant_id=7)]
)
def test_good_and_bad_records_of_one_tenant_count_together(event):
    """Otherwise only its invalid records would count, and the tenant would be quarantined."""
    _, readings, _ = _app(type(event))
    tp = TopicPartition("readings", 0)
    watch = PoisonWatch(tp, readings, Settings(), SystemClock(), 0)
    bad = json.dumps({"tenant_id": event.tenant_id}).encode()
    watch.note(b"s", bad, "invalid")
    batch = RecordBatch(tp, 0, 3, offsets=[0, 1, 2], keys=[b"s"] * 3, values=[bad] * 3)
    watch.folded(batch, [event] * 2)
    assert watch.tenant_of(b"s", bad)
    assert watch._breaker.shares(watch.tenant_of(b"s", bad)) == (1, 3)
