"""The overview while nothing answers, and what it makes of what workers measure."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from streams.console import workers
from streams.console.workers import Workers
from streams.local.live_workers import Worker

METRICS = """
dia_freshness_seconds_bucket{le="1.0"} 50
dia_freshness_seconds_bucket{le="10.0"} 1998
dia_freshness_seconds_bucket{le="30.0"} 2000
dia_freshness_seconds_bucket{le="+Inf"} 2000
dia_breaker_state{dependency="redis",state="open"} 1
dia_breaker_state{dependency="redis",state="closed"} 0
"""
HELD = {"group": "g", "topic": "t", "partition": 1, "lag": 7, "phase": "ready"}


@pytest.fixture
def measured(monkeypatch):
    """Two workers; the second one's metrics do not answer."""
    known = [
        Worker(
            pid=1, slot=0, http_port=1, partitions=[HELD, {**HELD, "partition": 0, "lag": None}]
        ),
        Worker(pid=2, slot=1, http_port=2),
    ]
    monkeypatch.setattr(workers, "live_workers", lambda state: known)

    async def text(self, http, worker):
        return METRICS if worker.slot == 0 else ""

    monkeypatch.setattr(Workers, "_text", text)
    assert list(text_string_to_metric_families(METRICS))


async def test_an_overview_of_nothing_says_unknown(http, bearer):
    """Zero would be a number; nobody told one. And no address is named."""
    answer = await http.get("/overview", headers=bearer("read"))
    assert answer.status_code == 200
    found = answer.json()
    assert found["degraded"]
    assert found["throughput"] is None
    assert found["error_budget"] is None
    assert found["freshness"]["p95_s"] is None
    assert found["dead_letters"]["last_hour"] is None
    assert found["lag"] == {"records": 0, "partitions": []}


async def test_what_workers_measure_is_added_up(http, bearer, measured):
    """Lag by partition, quantiles by bucket, and the error budget of the objective."""
    found = (await http.get("/overview", headers=bearer("read"))).json()
    assert found["lag"]["records"] == 7
    assert [one["partition"] for one in found["lag"]["partitions"]] == [0, 1]
    assert found["breakers"] == [{"worker": "0", "dependency": "redis", "state": "open"}]
    assert (found["freshness"]["p50_s"], found["freshness"]["p99_s"]) == (10.0, 10.0)
    budget = found["error_budget"]
    assert (budget["good"], budget["total"]) == (1998, 2000)
    # 1 in 1000 late events use all of a budget of 1 in 1000.
    assert budget["left"] == pytest.approx(0.0, abs=1e-9)


async def test_a_crowd_costs_one_look(http, bearer, measured, monkeypatch):
    """It is kept for 30 s, by tenant."""
    looks = []
    survey = Workers.survey

    async def counted(self):
        looks.append(1)
        return await survey(self)

    monkeypatch.setattr(Workers, "survey", counted)
    for _ in range(5):
        await http.get("/overview", headers=bearer("read"))
    assert len(looks) == 1
    await http.get("/overview", headers=bearer("stranger"))
    assert len(looks) == 2
