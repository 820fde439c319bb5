"""`dia query` and `dia migrate` from the command line."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from agents.app import app
from streams.connect.sinks import migration
from streams.connect.sinks.clickhouse import ClickHouseShards
from streams.core.clock import SystemClock
from streams.core.rows.built_in_tables import FactRows
from streams.core.settings import Settings

pytestmark = pytest.mark.stack

HOUR_S = 3600


def test_query_prints_data_in_the_requested_format(dia: Any) -> None:
    """stdout is data: as text, JSON Lines and CSV, of any size."""
    sql = "SELECT number AS n, 'a,b' AS s FROM numbers(2)"
    assert dia("query", sql) == (0, "n  s\n0  a,b\n1  a,b\n", "")
    code, out, _ = dia("query", sql, "--json")
    assert (code, [json.loads(line) for line in out.splitlines()]) == (
        0,
        [{"n": 0, "s": "a,b"}, {"n": 1, "s": "a,b"}],
    )
    code, out, _ = dia("query", sql, "-o", "csv")
    assert (code, list(csv.reader(io.StringIO(out)))) == (
        0,
        [["n", "s"], ["0", "a,b"], ["1", "a,b"]],
    )
    code, out, _ = dia("query", "SELECT number FROM numbers(200000)", "-o", "csv")
    assert (code, len(out.splitlines())) == (0, 200_001)


@pytest.mark.parametrize("form", ["arrow", "parquet"])
def test_query_writes_columns_with_their_types(dia: Any, tmp_path: Path, form: str) -> None:
    """What analysts load has times, names and numbers; a failed query leaves no file."""
    file = tmp_path / f"rows.{form}"
    sql = (
        "SELECT toDateTime(number, 'UTC') AS w, toLowCardinality(toString(number % 3)) AS tenant, "
        "toNullable(number / 2) AS mean, 1 AS a, 1 AS a FROM numbers(200000)"
    )
    assert dia("query", sql, "-o", form, "--file", str(file)) == (0, "", "")
    rows = pq.read_table(file) if form == "parquet" else pa.ipc.open_stream(file).read_all()
    assert rows.column_names == ["w", "tenant", "mean", "a", "a_2"]
    assert rows.num_rows == 200_000
    assert rows.schema.field("w").type == pa.timestamp("ms" if form == "parquet" else "s", "UTC")
    assert rows.slice(199_999).to_pylist()[0] == {
        "w": datetime(1970, 1, 3, 7, 33, 19, tzinfo=UTC),
        "tenant": "1",
        "mean": 99999.5,
        "a": 1,
        "a_2": 1,
    }
    for failing, why in (
        ("SELECT throwIf(number = 300000) FROM numbers(400000)", "throwIf"),
        ("SELECT CAST('a', 'Enum8(\\'a\\' = 1)') AS k", "toString(k)"),
        ("SELECT nothing", "nothing"),
    ):
        code, out, err = dia("query", failing, "-o", form, "--file", str(tmp_path / "none"))
        assert (code, out) == (2, "")
        assert why in err
        assert "FORMAT" not in err
    assert list(tmp_path.iterdir()) == [file]


def test_query_is_read_only(dia: Any) -> None:
    """A query must not be able to drop a table."""
    assert "m1_local" in dia("query", "SHOW TABLES")[1].split()
    for statement in ("DROP TABLE m1_local", "INSERT INTO ledger_local (grp) SELECT 'x'"):
        code, out, _ = dia("query", statement)
        assert (code, out) == (2, "")
    assert dia("query", "SELECT count() FROM ledger WHERE grp = 'x'")[1].split() == ["count()", "0"]


def test_an_error_after_the_first_rows_ends_the_command(dia: Any) -> None:
    """A retry on another shard would print the first rows twice."""
    sql = (
        "SELECT number, throwIf(number = 300000) FROM numbers(400000) SETTINGS max_block_size=1000"
    )
    code, out, err = dia("query", sql, "-o", "csv")
    numbers = [line.split(",")[0] for line in out.splitlines()[1:]]
    assert code == 2
    assert "throwIf" in err
    assert "unexpected" not in err
    assert len(numbers) == len(set(numbers)) > 0


def test_query_errors_name_the_cause(dia: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong SQL is the user's error (exit code 2), an unreachable shard a dependency's (4)."""
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


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELECT 1 AS a, sumState(1) AS total", ("column total of", "finalizeAggregation")),
        ("SELECT [uniqState(1)] AS many", ("column many of", "finalizeAggregation")),
        ("SELECT 1 AS a FORMAT JSON;", ("Leave FORMAT out", "-o json")),
        ("SELECT 1\nFORMAT\nCSV -- why", ("Leave FORMAT out", "-o csv")),
    ],
)
def test_query_explains_how_to_select_a_type_it_cannot_print(
    dia: Any, sql: str, words: Any
) -> None:
    """The statement is at fault, not a shard: one message, and no second shard is tried."""
    code, out, err = dia("query", sql, "--json")
    assert (code, out) == (2, "")
    assert all(word in err for word in words)
    assert "FORMAT Native" not in err
    assert "dia status" not in err
    assert err.count("[usage]") == 1


@pytest.mark.parametrize("sql", ["SELECT 1; SELECT 2", "VALUES (1)", "SELECT", "", "-- nothing"])
def test_error_messages_omit_the_clause_that_the_client_added(dia: Any, sql: str) -> None:
    """The client appends a FORMAT clause to each statement."""
    code, out, err = dia("query", sql)
    assert (code, out) == (2, "")
    assert "FORMAT" not in err


def test_query_prints_times_with_the_offset_of_their_column(dia: Any) -> None:
    """Readers take a time without an offset for their own."""
    sql = (
        "SELECT toDateTime(0, 'America/New_York') AS a, toDateTime(0) AS b, "
        "toDateTime64(0.5, 3, 'Asia/Tokyo') AS c, [toDateTime(0, 'UTC')] AS d"
    )
    assert json.loads(dia("query", sql, "--json")[1]) == {
        "a": "1969-12-31T19:00:00-05:00",
        "b": "1970-01-01T00:00:00Z",
        "c": "1970-01-01T09:00:00.500000+09:00",
        "d": ["1970-01-01T00:00:00Z"],
    }
    for form in ([], ["-o", "csv"]):
        shown = dia("query", sql, *form)[1]
        for time in ("1969-12-31T19:00:00-05:00", "1970-01-01T00:00:00Z"):
            assert time in shown


async def test_query_series_prints_its_steps(
    settings: Settings, dia: Any, yesterday: Any, minutes_of: Any
) -> None:
    """The command, from its options to JSON."""
    tenant, start = "commanded", yesterday()
    shards = ClickHouseShards.from_settings(settings, SystemClock(), app.clickhouse_tables)
    shard = int(shards.maps[0].shard_of([tenant], ["m"], ["k"])[0])
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


def test_migrate_shows_and_applies_migrations(dia: Any) -> None:
    """On a current server, plan and apply have nothing to do; status lists everything."""
    for command in ("plan", "apply"):
        assert dia("migrate", command) == (0, "", "every server is up to date.\n")
    code, out, _ = dia("migrate", "status", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert {row["state"] for row in rows} == {"applied"}
    assert len(rows) == 2 * len(migration.load(app.clickhouse_tables.values()))


def test_query_model_prints_a_card_or_that_there_is_none(dia: Any, settings: Settings) -> None:
    """It reads a model without SQL: as JSON for programs, as tables for people."""
    card = {
        "tenant_id": "cards",
        "model_id": "m",
        "versions": {"7": {"run_id": "r7", "stage": "production", "last_seen_ms": 5}},
        "aliases": {"champion": "7"},
        "best": {
            "auc": {"highest": 0.9, "highest_version": "7", "lowest": 0.5, "lowest_version": "7"}
        },
    }
    row = {"tenant": ["cards"], "model": ["m"], "card": [json.dumps(card)], "ver": [3], "at": [0]}

    async def store() -> None:
        shards = ClickHouseShards.from_settings(settings, SystemClock(), app.clickhouse_tables)
        shard = shards.shard_of_key("cards\0m")
        await shards.insert(shard, [FactRows(app.clickhouse_tables["models"], shard, row)])
        await shards.close()

    asyncio.run(store())
    code, out, _ = dia("query", "model", "--tenant=cards", "--model=m", "--json")
    assert (code, json.loads(out)["aliases"]) == (0, {"champion": "7"})
    code, out, _ = dia("query", "model", "--tenant=cards", "--model=m")
    assert (code, "production" in out, "champion" in out, "auc" in out) == (0, True, True, True)
    code, out, err = dia("query", "model", "--tenant=cards", "--model=other")
    assert (code, out) == (1, "")
    assert "was ever recorded" in err


@pytest.mark.parametrize(
    "command",
    [
        ("query", "series", "--tenant", "t", "--model", "m", "--metric", "x"),
        ("query", "SELECT count() FROM m1"),
        ("query", "model", "--tenant", "t", "--model", "m"),
        ("migrate", "plan"),
        ("migrate", "apply"),
    ],
    ids=" ".join,
)
def test_a_command_with_another_shard_map_is_refused(
    dia: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """It would look for the series on another shard and report no values."""
    file = tmp_path / "map.json"
    file.write_text('{"version": 4, "valid_from": "2020-01-01", "tenants": {"t": 1}}')
    monkeypatch.setenv("DIA_SHARDING", f"directory:{file}")
    code, out, err = dia(*command)
    assert (code, out) == (5, "")
    assert "shard_map_changed" in err
    assert "2 shards by hash" in err
    assert "2 shards by directory (version 4)" in err


def test_the_doctor_names_another_shard_map(
    dia: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Two swapped shard addresses look like any other configuration."""
    first, second = os.environ["DIA_CLICKHOUSE_SHARDS"].split(",")
    monkeypatch.setenv("DIA_CLICKHOUSE_SHARDS", f"{second},{first}")
    code, out, _ = dia("doctor")
    assert code
    assert "here it is named as shard" in " ".join(out.split())
