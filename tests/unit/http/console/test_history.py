"""Questions of an operator over HTTP: who is behind, who fails, what changed; and who may ask."""

from __future__ import annotations

import pytest

from streams.connect.broker.memory.broker import MemoryBroker
from streams.core.errors import BrokerUnavailable, ShardUnavailable
from streams.http.console.history.backlogs import BacklogHistory
from streams.http.console.shards import ShardReader

T0 = 1_790_000_000_000
EVENTS = [
    ["acme", 90, 2, 60, 1, 340], ["globex", 10, 1, 10, 8, 7_200], ["acme", 10, 1, 40, 2, 400],
    ["initech", 5, 1, 5, 0, -30],
]  # fmt: skip
DEAD = [
    ["acme", "wrong_type", 3, T0 + 5_000, T0 + 9_000],
    ["acme", "invalid_json", 1, T0 + 1_000, T0 + 1_000],
    ["initech", "invalid_json", 9, T0, T0 + 2_000],
]


@pytest.fixture
def asked(monkeypatch) -> list[str]:
    """Answers of the shards: one row for each tenant of each shard."""
    tenants: list[str] = []

    async def of_all(self, sql, parameters):
        tenants.append(parameters["tenant"])
        rows = DEAD if "dead_letters" in sql else EVENTS
        return [row for row in rows if parameters["tenant"] in ("", row[0])]

    monkeypatch.setattr(ShardReader, "of_all", of_all)
    return tenants


async def test_unread_records_without_a_worker_are_a_backlog_and_a_change(http, bearer, process):
    """A pipeline without progress must be first in the table, not absent from it."""
    recorder = process.console.history._recorder
    await recorder.sample()
    found = (await http.get("/api/history", headers=bearer("admin"))).json()
    assert {one["topic"] for one in found["backlogs"]} >= {"model.metrics", "train.results"}
    assert {one["unread"] for one in found["backlogs"]} == {0}
    assert [one["topic"] for one in found["unread"]["readers"]] == [
        one["topic"] for one in found["backlogs"]
    ]
    down = {one["subject"] for one in found["changes"] if one["kind"] == "outage"}
    assert "redis" in down
    assert found["orders_known"]


async def test_without_kafka_the_history_is_still_shown(http, bearer, process, monkeypatch):
    """The page is needed most while Kafka is away; what it then lacks is said."""
    await process.console.history._recorder.sample()

    async def away(self):
        raise BrokerUnavailable("connect at secret-host:9092: no answer")

    monkeypatch.setattr(MemoryBroker, "admin", away)
    answer = await http.get("/api/history", headers=bearer("admin"))
    assert answer.status_code == 200
    assert "secret-host" not in answer.text
    assert not answer.json()["orders_known"]
    assert answer.json()["backlogs"]
    recorder = process.console.history._recorder
    recorder._health._recent.forget()
    await recorder.sample()
    answer = await http.get("/api/history?range=6h", headers=bearer("admin"))
    assert {one["course"] for one in answer.json()["backlogs"]} == {"unknown"}


@pytest.mark.parametrize("who", ["read", "operate"])
async def test_a_bound_token_sees_no_history_of_all_tenants(http, bearer, who):
    """Lag and workers over every tenant reveal the load of others."""
    assert (await http.get("/api/history", headers=bearer(who))).status_code == 403


async def test_tenants_are_ranked_with_the_time_since_when_they_fail(http, bearer, asked):
    """Which tenant fails most, and since when: over all shards and codes."""
    found = (await http.get("/api/tenants/top", headers=bearer("admin"))).json()
    assert found["sending"] == [
        {"tenant": "acme", "events": 100, "series": 3},
        {"tenant": "globex", "events": 10, "series": 1},
        {"tenant": "initech", "events": 5, "series": 1},
    ]
    assert found["late"] == [
        {"tenant": "globex", "minutes": 10, "late": 8, "latest_s": 7_200},
        {"tenant": "acme", "minutes": 100, "late": 3, "latest_s": 400},
    ]
    worst, second = found["failing"]
    assert (worst["tenant"], worst["dead_letters"], worst["events"]) == ("initech", 9, 5)
    assert (second["tenant"], second["code"]) == ("acme", "wrong_type")
    assert (second["first_ms"], second["last_ms"]) == (T0 + 1_000, T0 + 9_000)
    assert (found["tenants"], found["events"], found["dead_letters"]) == (3, 115, 13)


async def test_a_bound_token_is_ranked_alone(http, bearer, asked):
    """The list of tenants and their volumes is for admins of every tenant."""
    found = (await http.get("/api/tenants/top", headers=bearer("read"))).json()
    assert set(asked) == {"acme"}
    assert {one["tenant"] for one in (*found["sending"], *found["failing"], *found["late"])} == {
        "acme"
    }


async def test_without_a_shard_there_is_an_error_and_no_half_ranking(http, bearer, monkeypatch):
    """Half of the shards would rank the tenants wrong, without a word."""

    async def away(self, sql, parameters):
        raise ShardUnavailable("shard 1 does not answer")

    monkeypatch.setattr(ShardReader, "of_all", away)
    answer = await http.get("/api/tenants/top", headers=bearer("admin"))
    assert answer.status_code == 503


async def test_a_range_is_one_of_three(http, bearer):
    """An unbounded range would read every row."""
    for path in ("/api/history", "/api/tenants/top"):
        answer = await http.get(f"{path}?range=400d", headers=bearer("admin"))
        assert answer.status_code == 400


async def test_many_readers_cause_one_reading(http, bearer, process, monkeypatch):
    """Two hundred open overviews ask every ten seconds: the figures are the same for all."""
    await process.console.history._recorder.sample()
    readings = []
    backlogs = BacklogHistory.backlogs

    def counted(self):
        readings.append(1)
        return backlogs(self)

    monkeypatch.setattr(BacklogHistory, "backlogs", counted)
    for _ in range(5):
        assert (await http.get("/api/history", headers=bearer("admin"))).status_code == 200
    assert len(readings) == 1
