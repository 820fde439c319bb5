"""Unbalanced and malformed streams."""

from __future__ import annotations

import json

import pytest

from streams.core.records.bad_records import InvalidJson, TimestampInFuture, TimestampTooOld

CENTURY_MS = {1970: 1_000, 2100: 4_102_444_800_000}


def event(tenant, ts):
    """A record that is valid except for its time."""
    value = {"tenant_id": tenant, "model_id": "m", "metric": "x", "ts": ts, "value": 1.0}
    return tenant.encode(), json.dumps(value).encode()


@pytest.mark.parametrize(
    ("fault", "shape"),
    [
        ("hot key, 90 % of all events", {"hot": 0.9}),
        ("one tenant, the other partitions idle", {"tenants": 1}),
        ("1 % poison", {"poison": 0.01}),
        ("30 % duplicates", {"duplicates": 0.3}),
    ],
)
async def test_a_lopsided_stream_is_exact(trial, report, fault, shape):
    """Skew, idle partitions and bad records are normal for a stream."""
    trial.feed(80_000, rate_per_s=20_000, **shape)
    trial.worker()
    report(await trial.exact(fault))


async def test_poison_at_offset_zero_and_events_of_other_centuries(trial, report):
    """The first record of every partition is bad, and one wrong clock must close no window."""
    tenants = [f"tenant-{number:04d}" for number in range(60)]
    await trial.send([(tenant.encode(), b"{") for tenant in tenants])
    trial.feed(60_000)
    trial.oracle.dead[InvalidJson.code] += len(tenants)
    worker = trial.worker()
    await worker.ready()
    for year, code in ((1970, TimestampTooOld.code), (2100, TimestampInFuture.code)):
        await trial.send([event(tenant, CENTURY_MS[year]) for tenant in tenants])
        trial.oracle.dead[code] += len(tenants)
    report(await trial.exact("poison at offset 0; events of 1970 and 2100"))
    read = await trial.dead_letters()
    assert {named["offset"] for named, _ in read if named["error_code"] == "invalid_json"} >= {"0"}
