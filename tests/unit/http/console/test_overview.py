"""The overview during outages, and its sums over the workers' metrics."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from streams.connect.broker.memory.broker import MemoryBroker
from streams.core.errors import BrokerUnavailable
from streams.engine.health.live_workers import LiveWorker
from streams.http.console.pipeline import workers
from streams.http.console.pipeline.workers import Workers
from streams.http.console.shards import ShardReader

TENANT = "acme"
METRICS = """
dia_freshness_seconds_bucket{le="1.0"} 50
dia_freshness_seconds_bucket{le="10.0"} 1998
dia_freshness_seconds_bucket{le="30.0"} 2000
dia_freshness_seconds_bucket{le="+Inf"} 2000
dia_build_info{process="worker",version="1.0"} 1.0
dia_event_time_lag_seconds{topic="model.metrics",partition="1"} 42
dia_breaker_state{dependency="redis",state="open"} 1
dia_breaker_state{dependency="redis",state="closed"} 0
"""
HELD = {"group": "dia-group", "topic": "model.metrics", "partition": 1, "lag": 7, "phase": "ready"}


@pytest.fixture
def measured(monkeypatch):
    """Two workers; the metrics of the second do not answer."""
    known = [
        LiveWorker(pid=1, slot=0, http_port=1, partitions=[HELD]),
        LiveWorker(pid=2, slot=1, http_port=2),
    ]
    monkeypatch.setattr(workers, "live_workers", lambda state: known)

    async def text(self, http, worker):
        return METRICS if worker.slot == 0 else ""

    monkeypatch.setattr(Workers, "_text", text)
    assert list(text_string_to_metric_families(METRICS))


async def test_an_overview_without_answers_shows_unknown(http, bearer):
    """Unknown values are null and not zero, and no address is shown."""
    answer = await http.get("/overview", headers=bearer("read"))
    assert answer.status_code == 200
    found = answer.json()
    assert found["degraded"]
    assert found["throughput"] is None
    assert found["error_budget"] is None
    assert found["freshness"]["p95_s"] is None
    assert found["dead_letters"] == {"last_hour": None, "course": None}
    assert found["level"]["level"] is None
    assert found["level"]["name"] == "unknown"


async def test_dead_letters_are_counted_by_parts_of_the_hour(http, bearer, monkeypatch):
    """Whether they begin or end now is seen in their course, over all shards, and not in their sum."""

    async def of_all(self, sql, parameters):
        return [[0, 3], [11, 1], [11, 2]] if "dead_letters" in sql else []

    monkeypatch.setattr(ShardReader, "of_all", of_all)
    found = (await http.get("/overview", headers=bearer("admin"))).json()["dead_letters"]
    assert found == {"last_hour": 6, "course": [3, *[0] * 10, 3]}


async def test_unread_records_without_a_worker_are_red(http, bearer, broker):
    """20,000 records without a worker: the lag comes from the broker and the state is red, not "0
    records, healthy".
    """
    producer = broker.plain_producer()
    await producer.start()
    await (await producer.send_many("model.metrics", [b"k"] * 20_000, [b"v"] * 20_000))
    await producer.close()
    found = (await http.get("/overview", headers=bearer("admin"))).json()
    assert found["lag"]["records"] == 20_000
    assert found["health"]["verdict"] == "red"
    assert {one["code"] for one in found["health"]["findings"]} == {"group_dead"}
    owners = {(one["topic"], one["owner"]) for one in found["lag"]["partitions"]}
    assert ("model.metrics", None) in owners


async def test_an_unavailable_lag_is_null(http, bearer, monkeypatch):
    """Null and 0 must be distinguishable."""

    async def away(self):
        raise BrokerUnavailable("connect at secret-host:9092: no answer")

    monkeypatch.setattr(MemoryBroker, "admin", away)
    answer = await http.get("/overview", headers=bearer("admin"))
    assert "secret-host" not in answer.text
    found = answer.json()
    assert found["lag"] == {"records": None, "partitions": []}
    assert found["health"]["verdict"] == "unknown"


async def test_metrics_of_workers_are_added(http, bearer, measured, process):
    """Lag by partition, quantiles by bucket, the error budget of the objective, and versions for deploys."""
    found = (await http.get("/overview", headers=bearer("admin"))).json()
    [held] = [one for one in found["lag"]["partitions"] if one["worker"] is not None]
    assert (held["topic"], held["partition"], held["phase"]) == ("model.metrics", 1, "ready")
    assert found["breakers"] == [{"worker": "0", "dependency": "redis", "state": "open"}]
    shown = (await http.get("/api/pipeline", headers=bearer("admin"))).json()["partitions"]
    watermarks = {one["event_time_lag_s"] for one in shown if one["topic"] == "model.metrics"}
    assert watermarks == {None, 42.0}
    recorder = process.console.history._recorder
    await recorder.sample()
    assert recorder.changes._versions == {"0": "1.0"}


async def test_a_bound_token_sees_no_figure_of_other_tenants(http, bearer, broker, measured):
    """Error budgets, lags and findings over all tenants would reveal the load of others."""
    producer = broker.plain_producer()
    await producer.start()
    await (await producer.send_many("model.metrics", [b"k"] * 500, [b"v"] * 500))
    await producer.close()
    whole = (await http.get("/overview", headers=bearer("admin"))).json()
    assert whole["lag"]["records"] == 500
    assert whole["workers"]
    answer = await http.get("/overview", headers=bearer("read"))
    found = answer.json()
    hidden = ("lag", "error_budget", "workers", "breakers")
    assert [found[name] for name in hidden] == [None] * 4
    assert (found["level"]["reasons"], found["health"]["findings"]) == ([], [])
    assert (found["health"]["verdict"], found["services"]) == (
        whole["health"]["verdict"],
        whole["services"],
    )
    assert "500" not in answer.text.replace(str(found["as_of_ms"]), "")


async def test_many_readers_cause_one_read(http, bearer, measured, monkeypatch):
    """The shards are asked once in 30 s for each tenant, the workers once for all tenants."""
    looks, asked = [], []
    survey, of_all = Workers.survey, ShardReader.of_all

    async def counted(self):
        looks.append(1)
        return await survey(self)

    async def counted_question(self, sql, parameters):
        asked.append(parameters["tenant"])
        return await of_all(self, sql, parameters)

    monkeypatch.setattr(Workers, "survey", counted)
    monkeypatch.setattr(ShardReader, "of_all", counted_question)
    for _ in range(5):
        await http.get("/overview", headers=bearer("read"))
    await http.get("/overview", headers=bearer("stranger"))
    assert len(looks) == 1
    assert asked == [TENANT, TENANT, "globex", "globex"]
