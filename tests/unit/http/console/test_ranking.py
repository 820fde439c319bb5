"""The ranking of models: which figures it takes, from which shards, and who may ask."""

from __future__ import annotations

import pytest

from streams.connect.sinks import shard_maps
from streams.connect.sinks.map_record import MapRecord, RecordedMap
from streams.connect.sinks.series import SeriesQuery
from streams.connect.sinks.shard_maps import KnownMaps
from streams.connect.sinks.sharding import HashSharding, ShardMap
from streams.connect.sinks.window_views.ranking import RankingReading
from streams.core.errors import ShardUnavailable
from streams.core.settings import Settings
from streams.http.console.ranking import RANKED_MAX
from streams.http.console.shards import ShardReader

ASKED = "/api/ranking?metric=latency_ms"
URLS = ("http://a:1", "http://b:1")
MADE = {"b": (10, 4.0, 9.0), "a": (2, 7.0, 1.0), "c": (5, 4.0, 2.0)}
"""of each model: events, mean, p95"""


def _row(model, events, mean, p95):
    """Of less than twenty events the 95th percentile is the largest value."""
    return [model, events, mean, 0.5, 0.0, p95, mean + 1, [1000] * 3]


@pytest.fixture
def asked(monkeypatch):
    """Statements that reached the two shards; each model is on the shard of its turn."""
    statements = []
    made = [_row(model, *figures) for model, figures in MADE.items()]

    async def of_windows(self, reading):
        known = shard_maps.assumed(Settings(clickhouse_shards=",".join(URLS)))
        statements.extend(reading.asked(known))
        return reading.points([made[::2], made[1::2]])

    monkeypatch.setattr(ShardReader, "of_windows", of_windows)
    return statements


@pytest.mark.parametrize(
    ("by", "names"),
    [
        ("by=mean", "abc"),
        ("by=mean&order=lowest", "bca"),
        ("by=p95", "bca"),
        ("by=count&order=lowest", "acb"),
        ("by=last", "abc"),
    ],
)
async def test_models_are_in_the_order_of_the_figure(http, bearer, asked, by, names):
    """Which is best and which is worst; equal figures in the order of names, so that a reload moves nothing."""
    found = (await http.get(f"{ASKED}&{by}&from=-6h", headers=bearer("read"))).json()
    assert "".join(one["model"] for one in found["ranked"]) == names
    assert (found["tenant"], found["of"], found["metric"]) == ("acme", "model", "latency_ms")
    assert (found["number"], found["table"]) == (3, "m1")
    first = found["ranked"][0]
    assert (first["count"], first["mean"], first["p95"]) == MADE[first["model"]]


async def test_every_shard_is_asked_once_for_the_tokens_own_tenant(http, bearer, asked):
    """A tenant's models are on all shards, and names go to ClickHouse as parameters."""
    answer = await http.get(f"{ASKED}&from=-90d&tenant=acme", headers=bearer("read"))
    assert answer.status_code == 200
    assert [shard for shard, _ in asked] == [0, 1]
    for _, (sql, given) in asked:
        assert (given["tenant"], given["metric"]) == ("acme", "latency_ms")
        assert given.keys() == {"tenant", "metric", "start", "stop"}
        assert "FROM h1_local" in sql
        assert "acme" not in sql
    answer = await http.get(f"{ASKED}&tenant=globex", headers=bearer("read"))
    assert answer.status_code == 403


def test_a_model_on_two_shards_is_one_row():
    """Around the day of a new shard map both shards have windows of a series."""
    maps = [
        RecordedMap(MapRecord.of(ShardMap(n, HashSharding(n)), [[url] for url in URLS[:n]]), in_force=True)
        for n in (1, 2)
    ]  # fmt: skip
    query = SeriesQuery(tenant="acme", model="", metric="x", start_s=0, stop_s=3600, step_s=3600)
    reading = RankingReading(query, "m1", "model")
    statements = reading.asked(KnownMaps(tuple(maps), tuple((url,) for url in URLS), recorded=True))
    assert all("sketch.1" in sql for _, (sql, _) in statements)
    codes = [*range(1000, 1010)]
    parts = [
        [*_row("m", 10, mean, 9.0), codes, [1] * 10, [at, 1]] for at, mean in ((5, 2.0), (4, 4.0))
    ]
    columns = reading.points([[parts[0]], [parts[1]]]).columns
    assert (columns["model"], columns["count"], columns["mean"]) == (["m"], [20], [3.0])
    assert columns["last"] == [3.0], "of the later one"


async def test_an_answer_is_bounded_and_says_how_many_there_are(http, bearer, monkeypatch):
    """A tenant may have thousands of models."""

    async def of_windows(self, reading):
        return reading.points([[_row(f"m{n:04}", 1, float(n), 1.0) for n in range(1000)], []])

    monkeypatch.setattr(ShardReader, "of_windows", of_windows)
    found = (await http.get(ASKED, headers=bearer("read"))).json()
    assert (found["number"], len(found["ranked"])) == (1000, RANKED_MAX)
    assert found["ranked"][0]["model"] == "m0999"


async def test_without_a_shard_there_is_an_error_and_no_half_ranking(http, bearer, monkeypatch):
    """The best model may be on the shard that is away."""

    async def away(self, reading):
        raise ShardUnavailable("shard 1 does not answer")

    monkeypatch.setattr(ShardReader, "of_windows", away)
    assert (await http.get(ASKED, headers=bearer("read"))).status_code == 503


@pytest.mark.parametrize(
    "query",
    [
        "", "metric=x&by=m1", "metric=x&order=best", "metric=x&of=tenant", "metric=x&metric=y",
        "metric=x&from=-1h&to=-2h", "of=metric", "metric=x&table=m2",
    ],
)  # fmt: skip
async def test_senseless_rankings_are_refused(http, bearer, asked, query):
    """The check comes before the statement."""
    answer = await http.get(f"/api/ranking?{query}", headers=bearer("read"))
    assert (answer.status_code, asked) == (400, [])
