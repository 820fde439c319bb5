"""Migrations, views, percentiles and series, through the real engine on two shards."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from streams import cli
from streams.clock import SystemClock
from streams.errors import RefusedBySafety
from streams.local.stack import StackStatus
from streams.rows import WindowRows
from streams.settings import Settings
from streams.sinks import migration, schema, series
from streams.sinks.clickhouse import ClickHouseShards
from streams.sinks.migration import State
from streams.sinks.view_source import COLUMNS, ViewSource
from tables.sketch_code import decode, encode

pytestmark = pytest.mark.stack

DATABASE = "queries"
HOUR_S = 3600
DAY_S = 86_400


@pytest.fixture(scope="module")
def settings(stack: StackStatus) -> Iterator[Settings]:
    """The session's shards, and a migrated database of this module's own."""
    found = Settings(
        clickhouse_shards=",".join(stack.shards),
        clickhouse_user=stack.clickhouse_user,
        clickhouse_password_file=str(stack.clickhouse_password_file),
        clickhouse_database=DATABASE,
    )
    for server in schema.servers(found):
        assert server.migrator.apply()
        server.replica.close()
    yield found
    for server in schema.servers(found):
        server.replica.command(f"DROP DATABASE {DATABASE}")
        server.replica.close()


@pytest.fixture
def servers(settings: Settings) -> Iterator[list[schema.Server]]:
    """Both servers, for asking them directly."""
    found = schema.servers(settings)
    yield found
    for server in found:
        server.replica.close()


def yesterday() -> int:
    """The start of the UTC day before, in seconds: over, and kept as minutes."""
    return SystemClock().now_ms() // 1000 // DAY_S * DAY_S - DAY_S


def minutes_of(
    tenant: str, start_s: int, values: NDArray[np.float64], part: int, minutes: int = 60
) -> WindowRows:
    """``values`` dealt out over the minutes of an hour, folded as the pipeline folds them."""
    dealt = [values[minute::minutes] for minute in range(minutes)]
    dealt = [chunk for chunk in dealt if len(chunk)]
    codes = [np.unique(encode(chunk), return_counts=True) for chunk in dealt]
    count = len(dealt)
    starts = start_s + 60 * np.arange(count)
    zeros = np.zeros(count, np.int32)

    def column(function: Any) -> NDArray[np.float64]:
        return np.array([function(chunk) for chunk in dealt], np.float64)

    return WindowRows(
        table="m1",
        shard=0,
        part=part,
        tenants=[tenant],
        models=["m"],
        metrics=["k"],
        tenant_code=zeros,
        model_code=zeros,
        metric_code=zeros,
        w=starts.astype(np.uint32),
        inc=np.full(count, part + 1, np.uint64),
        n=np.array([len(chunk) for chunk in dealt], np.uint64),
        s1=column(np.sum),
        s2=column(lambda chunk: (chunk**2).sum()),
        lo=column(np.min),
        hi=column(np.max),
        lv=column(lambda chunk: chunk[-1]),
        lt=(starts * 1000 + part).astype(np.int64),
        sk_off=np.r_[0, np.cumsum([len(code) for code, _ in codes])].astype(np.int32),
        sk_k=np.concatenate([code for code, _ in codes]),
        sk_n=np.concatenate([counts for _, counts in codes]).astype(np.uint32),
        ver=np.arange(1, count + 1, dtype=np.uint64),
    )


def samples() -> dict[str, NDArray[np.float64]]:
    """Value distributions that have broken sketches before."""
    random = np.random.default_rng(7)
    latency = random.lognormal(-3, 1, 4000)
    return {
        "positive": latency,
        "negative": -latency * 1e6,
        "mixed": random.normal(0, 10, 4001),
        "zeros": np.where(random.random(3000) < 0.6, 0.0, random.normal(0, 1, 3000)),
        "tiny": random.uniform(1e-9, 3e-9, 2000),
        "huge": np.exp(random.uniform(0, 345, 3000)),
        "tens": random.integers(-5, 6, 1000).astype(np.float64),
        "one": np.array([0.3]),
        "two": np.array([-1.0, 1e-9]),
    }


@pytest.mark.parametrize("name", samples())
async def test_percentiles_are_within_one_percent(settings: Settings, name: str) -> None:
    """The promise of `dia query series`, against numpy's inverted_cdf on the same values."""
    values = samples()[name]
    tenant, start = f"percentiles-{name}", yesterday()
    shards = ClickHouseShards.from_settings(settings, SystemClock())
    shard = int(shards.shard_of([tenant], ["m"], ["k"])[0])
    parts = [chunk for chunk in np.array_split(values, 3) if len(chunk)]
    await shards.insert(shard, [minutes_of(tenant, start, v, i) for i, v in enumerate(parts)])
    query = series.SeriesQuery(
        tenant=tenant, model="m", metric="k", start_s=start, stop_s=start + HOUR_S, step_s=HOUR_S
    )
    for table in ("m1", "h1"):
        (row,) = series.read(settings, query, table)
        found = dict(zip(series.COLUMNS, row, strict=True))
        assert found["count"] == len(values)
        assert (found["min"], found["max"]) == (values.min(), values.max())
        assert found["mean"] == pytest.approx(values.mean(), rel=1e-9, abs=1e-9 * abs(values).max())
        assert found["sd"] == pytest.approx(values.std(), rel=1e-6, abs=1e-6 * abs(values).max())
        exact = np.percentile(values, [50, 95, 99], method="inverted_cdf")
        np.testing.assert_allclose([found["p50"], found["p95"], found["p99"]], exact, rtol=0.01)
        await shards.roll_up(shard, "h1", start)
    await shards.close()


async def test_a_series_is_cut_into_steps(settings: Settings) -> None:
    """Each step has its own numbers; a step without values has no row."""
    tenant, start = "stepped", yesterday() + 6 * HOUR_S
    shards = ClickHouseShards.from_settings(settings, SystemClock())
    shard = int(shards.shard_of([tenant], ["m"], ["k"])[0])
    await shards.insert(shard, [minutes_of(tenant, start, np.arange(1.0, 31.0), 0, minutes=30)])
    await shards.close()
    query = series.SeriesQuery(
        tenant=tenant,
        model="m",
        metric="k",
        start_s=start,
        stop_s=start + HOUR_S,
        step_s=600,
    )
    rows = [
        dict(zip(series.COLUMNS, row, strict=True)) for row in series.read(settings, query, "m1")
    ]
    assert [(row["count"], row["mean"], row["last"]) for row in rows] == [
        (10, 5.5, 10.0),
        (10, 15.5, 20.0),
        (10, 25.5, 30.0),
    ]


async def test_roll_ups_equal_the_sum_of_their_minutes(
    settings: Settings, servers: list[schema.Server]
) -> None:
    """Count, sums and sketch, through the views, for hours and for the day."""
    random = np.random.default_rng(3)
    start = yesterday() - 2 * DAY_S
    shards = ClickHouseShards.from_settings(settings, SystemClock())
    for shard in range(shards.count):
        chunks = [
            minutes_of(f"rolled-{shard}", start + hour * HOUR_S, random.normal(0, 5, 500), part)
            for hour in (0, 5, 23)
            for part in (0, 1)
        ]
        await shards.insert(shard, chunks)
        for hour in range(24):
            await shards.roll_up(shard, "h1", start + hour * HOUR_S)
        await shards.roll_up(shard, "d1", start)
    await shards.close()
    sql = (
        "SELECT tenant, toStartOfDay(w), sum(n), sum(s1), sum(s2), min(lo), max(hi), "
        "argMax(lv, (lt, ver)), sumMap(sk_k, sk_n) FROM {table} "
        "WHERE startsWith(tenant, 'rolled-') GROUP BY ALL ORDER BY ALL"
    )
    _, minutes = servers[0].replica.query(sql.format(table="m1"))
    assert [row[2] for row in minutes] == [3000, 3000]
    for table in ("h1", "d1"):
        _, rolled = servers[1].replica.query(sql.format(table=table))
        for exact, row in zip(minutes, rolled, strict=True):
            assert (row[0], row[2], row[5:]) == (exact[0], exact[2], exact[5:])
            assert row[3:5] == pytest.approx(exact[3:5], rel=1e-9, abs=1e-9)


async def test_a_view_shows_every_shard_once(
    settings: Settings, servers: list[schema.Server]
) -> None:
    """On any shard, exact without FINAL although each row was inserted three times."""
    tenant, start = "seen", yesterday()
    shards = ClickHouseShards.from_settings(settings, SystemClock())
    rows = minutes_of(tenant, start, np.arange(60.0), 0)
    for shard in range(shards.count):
        for _ in range(3):
            await shards.insert(shard, [rows])
    await shards.close()
    for server in servers:
        sql = "SELECT count(), sum(n) FROM m1 WHERE tenant = {tenant:String}"
        assert server.replica.query(sql, {"tenant": tenant})[1] == [(120, 120)]


def test_views_and_tables_have_the_declared_columns(servers: list[schema.Server]) -> None:
    """What a sister is asked for is written down twice: here they must agree."""
    sql = (
        "SELECT name, type FROM system.columns WHERE database = currentDatabase() "
        "AND table = {table:String} ORDER BY position"
    )
    for name, columns in COLUMNS.items():
        for table in (name, f"{name}_local"):
            _, rows = servers[0].replica.query(sql, {"table": table})
            assert dict(rows) == columns


def test_the_sql_function_decodes_as_python_does(servers: list[schema.Server]) -> None:
    """One format, two implementations."""
    last = int(encode(1e150))
    _, rows = servers[0].replica.query(
        f"SELECT sketch_value(toInt16(number - {last})) FROM numbers({2 * last + 1})"
    )
    ours = decode(np.arange(-last, last + 1))
    np.testing.assert_allclose([row[0] for row in rows], ours, rtol=1e-11)


def test_migrating_again_does_nothing(settings: Settings, servers: list[schema.Server]) -> None:
    """`dia up` and every worker start may run it."""
    for server in servers:
        assert server.migrator.apply() == []
        assert {standing.state for standing in server.migrator.standings()} == {State.APPLIED}


def test_a_changed_setting_runs_its_migration_again(
    settings: Settings, servers: list[schema.Server]
) -> None:
    """Retention is a setting; only the file that names it runs."""
    for days in (60, settings.m1_retention_days):
        changed = dataclasses.replace(settings, m1_retention_days=days)
        server = schema.servers(changed)[0]
        assert server.migrator.apply() == ["R001__retention"]
        _, ((ddl,),) = server.replica.query("SHOW CREATE TABLE m1_local")
        assert f"toIntervalDay({days})" in ddl
        server.replica.close()


@pytest.mark.parametrize(("label", "word"), [("V001__windows", "changed"), ("V999__x", "newer")])
def test_a_server_that_ran_something_else_is_refused(
    servers: list[schema.Server], label: str, word: str
) -> None:
    """A changed file, or a server that a newer build migrated: stop before doing harm."""
    server = servers[0]
    _, before = server.replica.query("SELECT label, checksum FROM migrations_local FINAL")
    server.replica.command(
        "INSERT INTO migrations_local (label, checksum) SELECT {label:String}, 'other'",
        {"label": label},
    )
    try:
        with pytest.raises(RefusedBySafety, match=word):
            server.migrator.apply()
    finally:
        server.replica.command(
            "DELETE FROM migrations_local WHERE label = {label:String}", {"label": label}
        )
        for known, checksum in before:
            if known == label:
                server.replica.command(
                    "INSERT INTO migrations_local (label, checksum) "
                    "SELECT {label:String}, {checksum:String}",
                    {"label": known, "checksum": checksum},
                )


def test_nothing_shows_the_password(settings: Settings, servers: list[schema.Server]) -> None:
    """Neither a plan, nor a view, nor the server's tables about itself."""
    password = settings.clickhouse_password()
    shown = [
        *(text for m in migration.load() for text in m.statements(_values(settings))),
        *(str(servers[0].replica.query(f"SHOW CREATE VIEW {name}")[1]) for name in COLUMNS),
        str(servers[0].replica.query("SELECT * FROM system.named_collections")[1]),
        str(servers[0].replica.query("SELECT * FROM system.tables")[1]),
    ]
    assert not any(password in text for text in shown)


def _values(settings: Settings) -> dict[str, str]:
    source = ViewSource(database=DATABASE, sisters={1: settings.shards()[1][0]})
    return migration.variables(source, m1_retention_days=30, replicated=False)


def test_the_statements_for_a_cluster_are_valid_sql(servers: list[schema.Server]) -> None:
    """chDB has no Keeper to run them with, but it parses them."""
    source = ViewSource(database=DATABASE, cluster="main", sisters={})
    values = migration.variables(source, m1_retention_days=30, replicated=True)
    statements = [text for m in migration.load() for text in m.statements(values)]
    assert any("ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/" in s for s in statements)
    assert any("Distributed('main', 'queries', 'm1_local')" in s for s in statements)
    for statement in statements:
        servers[0].replica.query(f"EXPLAIN AST {statement}")


@pytest.fixture
def dia(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Any:
    """Run a command against this module's database; (exit code, stdout, stderr)."""
    monkeypatch.setenv("DIA_CLICKHOUSE_SHARDS", settings.clickhouse_shards)
    monkeypatch.setenv("DIA_CLICKHOUSE_USER", settings.clickhouse_user)
    monkeypatch.setenv("DIA_CLICKHOUSE_PASSWORD_FILE", settings.clickhouse_password_file)
    monkeypatch.setenv("DIA_CLICKHOUSE_DATABASE", DATABASE)

    def run(*args: str) -> tuple[int, str, str]:
        code = cli.main(args)
        return code, *capsys.readouterr()

    return run


def test_query_prints_data_in_the_asked_form(dia: Any) -> None:
    """stdout is data: as text, JSON Lines and CSV, of any size."""
    sql = "SELECT number AS n, 'a,b' AS s FROM numbers(2)"
    assert dia("query", sql) == (0, "n  s\n0  a,b\n1  a,b\n", "")
    code, out, _ = dia("query", sql, "--json")
    assert (code, [json.loads(line) for line in out.splitlines()]) == (
        0,
        [{"n": 0, "s": "a,b"}, {"n": 1, "s": "a,b"}],
    )
    code, out, _ = dia("query", "--csv", sql)
    assert (code, list(csv.reader(io.StringIO(out)))) == (
        0,
        [["n", "s"], ["0", "a,b"], ["1", "a,b"]],
    )
    code, out, _ = dia("query", "SELECT number FROM numbers(200000)", "--csv")
    assert (code, len(out.splitlines())) == (0, 200_001)


def test_query_names_what_is_wrong(dia: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong SQL is the user's (2), a silent shard is a dependency (4)."""
    code, out, err = dia("query", "SELECT * FROM absent")
    assert (code, out) == (2, "")
    assert "absent" in err
    assert "dia migrate apply" in err
    monkeypatch.setenv("DIA_CLICKHOUSE_SHARDS", "http://127.0.0.1:1")
    for command in (("sql", "SELECT 1"), ("series", "--tenant=a", "--model=b", "--metric=c")):
        code, out, err = dia("query", *command)
        assert (code, out) == (4, "")
        assert "http://127.0.0.1:1 cannot be reached: Connection refused" in err
        assert "dia up" in err


async def test_query_series_prints_its_steps(settings: Settings, dia: Any) -> None:
    """The command, from its options to JSON."""
    tenant, start = "commanded", yesterday()
    shards = ClickHouseShards.from_settings(settings, SystemClock())
    shard = int(shards.shard_of([tenant], ["m"], ["k"])[0])
    await shards.insert(shard, [minutes_of(tenant, start, np.full(120, 2.0), 0)])
    await shards.close()
    code, out, _ = dia(
        *("query", "series", "--tenant", tenant, "--model", "m", "--metric", "k", "--json"),
        *("--from", str(start), "--to", str(start + HOUR_S), "--step", "30m"),
    )
    assert code == 0
    rows = [json.loads(line) for line in out.splitlines()]
    statistics = {"mean": 2.0, "sd": 0.0, "min": 2.0, "max": 2.0, "last": 2.0}
    percentiles = {"p50": 2.0, "p95": 2.0, "p99": 2.0}
    assert [{k: v for k, v in row.items() if k != "t"} for row in rows] == [
        {"count": 60, **statistics, **percentiles}
    ] * 2
    assert rows[0]["t"].endswith("T00:00:00Z")


def test_migrate_tells_and_does(dia: Any) -> None:
    """plan and apply have nothing to do on a current server; status lists everything."""
    for command in ("plan", "apply"):
        assert dia("migrate", command) == (0, "", "every server is up to date.\n")
    code, out, _ = dia("migrate", "status", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert {row["state"] for row in rows} == {"applied"}
    assert len(rows) == 2 * len(migration.load())
