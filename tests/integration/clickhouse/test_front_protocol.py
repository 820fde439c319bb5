"""A local shard and the real client library: answers equal those of a ClickHouse server."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import clickhouse_connect
import lz4.frame
import pyarrow as pa
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, StreamFailureError

pytestmark = pytest.mark.stack


@pytest.fixture(params=[False, "lz4", "zstd", "gzip"], ids=str)
def client(front: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A client of each compression in turn, with an empty table ``t``."""
    found = front.client(compress=request.param)
    found.command("CREATE OR REPLACE TABLE t (a UInt32, b String) ENGINE = MergeTree ORDER BY a")
    yield found
    found.close()


def test_the_client_reads_version_zone_and_database(client: Any) -> None:
    """Version and time zone determine what the client sends; the database is the front's default."""
    assert client.server_version.count(".") >= 2
    assert str(client.server_tz) == "UTC"
    assert client.command("SELECT currentDatabase()") == "dia"


def test_every_kind_of_insert_is_read_back(client: Any) -> None:
    """Rows, columns, Arrow and raw bytes all end in the same table."""
    client.insert("t", [[1, "one"], [2, "two"]], column_names=["a", "b"])
    columns = [list(range(3, 5003)), ["many"] * 5000]
    client.insert("t", columns, column_names=["a", "b"], column_oriented=True)
    client.insert_arrow("t", pa.table({"a": pa.array([6000], pa.uint32()), "b": ["arrow"]}))
    for compression, pack in (("gzip", gzip.compress), ("lz4", lz4.frame.compress)):
        block = pack(b'{"a": 7000, "b": "raw"}\n')
        client.raw_insert("t", insert_block=block, fmt="JSONEachRow", compression=compression)
    client.command("INSERT INTO t VALUES (8000, 'values; -- FORMAT x'), (8001, 'it''s')")
    total = client.query("SELECT count(), sum(a) FROM t").result_rows
    expected = [1, 2, *range(3, 5003), 6000, 7000, 7000, 8000, 8001]
    assert total == [(len(expected), sum(expected))]


def test_results_come_in_every_shape(client: Any) -> None:
    """Rows, Arrow, streams, commands, and a result without rows."""
    assert client.query("SELECT number AS n, toString(n) FROM numbers(2)").result_rows == [
        (0, "0"),
        (1, "1"),
    ]
    assert client.query_arrow("SELECT number FROM numbers(5)").num_rows == 5
    assert client.command("SELECT 42") == 42
    with client.query_row_block_stream("SELECT number FROM numbers(300000)") as blocks:
        assert sum(len(block) for block in blocks) == 300_000
    assert client.query("SELECT a, b FROM t").result_rows == []
    assert client.query("SHOW TABLES LIKE 't'").result_rows == [("t",)]


def test_bound_parameters_are_values_not_text(client: Any) -> None:
    """Quotes, tabs and arrays arrive unchanged."""
    wanted = {"s": 'it\'s\ta \\ "quoted"\nline', "n": [1, 2]}
    rows = client.query("SELECT {s:String}, {n:Array(UInt8)}", parameters=wanted).result_rows
    assert rows == [(wanted["s"], [1, 2])]
    assert client.query("SELECT %(s)s", parameters={"s": wanted["s"]}).result_rows == [
        (wanted["s"],)
    ]


@pytest.mark.parametrize(
    ("sql", "code", "status"),
    [
        ("SELECT * FROM absent", 60, 404),
        ("SELEC 1", 62, 400),
        ("SELECT absent", 47, 404),
        ("SELECT 1 SETTINGS absent = 1", 115, 404),
        ("SELECT toUInt8('x')", 6, 400),
        ("SELECT throwIf(1)", 395, 500),
        ("SELECT 1 INTO OUTFILE '/tmp/never'", 48, 501),
        ("", 62, 400),
    ],
)
def test_errors_have_clickhouses_code_and_http_status(
    front: Any, sql: str, code: int, status: int
) -> None:
    """Clients read the code header; proxies read the status."""
    found, body, headers = front.http(sql.encode())
    assert (found, headers["X-ClickHouse-Exception-Code"]) == (status, str(code))
    assert body.startswith(f"Code: {code}. DB::Exception: ".encode())


def test_a_client_gets_the_code_of_its_error(client: Any) -> None:
    """The pipeline distinguishes back-pressure from faults by it."""
    with pytest.raises(DatabaseError) as caught:
        client.query("SELECT * FROM absent")
    assert caught.value.code == 60


def test_an_error_in_the_middle_of_a_stream_is_raised(client: Any) -> None:
    """A partial result must not look complete."""
    sql = "SELECT throwIf(number = 900000) FROM numbers(1000000) SETTINGS max_block_size = 10000"
    with (
        pytest.raises((StreamFailureError, DatabaseError)),
        client.query_row_block_stream(sql) as blocks,
    ):
        for _ in blocks:
            pass


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("INSERT INTO guarded FORMAT TSV", 469),
        ("INSERT INTO guarded SETTINGS max_partitions_per_insert_block = 1 FORMAT TSV", 252),
    ],
)
def test_a_refused_insert_is_an_error(front: Any, statement: str, code: int) -> None:
    """chDB's own streaming insert reports success here: the row would be acknowledged and lost."""
    front.http(
        b"CREATE OR REPLACE TABLE guarded (a UInt32, CONSTRAINT c CHECK a < 9) "
        b"ENGINE = MergeTree ORDER BY a PARTITION BY a"
    )
    body = b"9\n" if code == 469 else b"1\n2\n"
    found, _, headers = front.http(statement.encode() + b"\n" + body)
    assert (found, headers["X-ClickHouse-Exception-Code"]) == (500, str(code))
    assert front.http(b"SELECT count() FROM guarded")[1] == b"0\n"


def test_settings_apply_to_one_request(front: Any) -> None:
    """On a pooled connection they would otherwise change another client's query."""
    ask = b"SELECT getSetting('max_block_size')"
    usual = front.http(ask)[1]
    assert front.http(ask, max_block_size="77")[1] == b"77\n"
    assert front.http(ask)[1] == usual


def test_a_session_keeps_temporary_tables_and_set_only(front: Any) -> None:
    """Settings in the URL still apply to one request."""
    here = {"session_id": "s1"}
    front.http(b"CREATE TEMPORARY TABLE mine (x UInt8)", **here)
    front.http(b"SET max_block_size = 55", **here)
    ask = b"SELECT getSetting('max_block_size')"
    assert front.http(ask, max_block_size="77", **here)[1] == b"77\n"
    assert front.http(ask, **here)[1] == b"55\n"
    assert front.http(b"SELECT count() FROM mine", **here)[0] == 200
    assert front.http(b"SELECT count() FROM mine", session_id="s2")[0] == 404
    assert front.http(b"SELECT 1", session_id="s3", session_check="1")[0] == 500


def test_a_session_takes_one_request_at_a_time(front: Any) -> None:
    """As on a server: code 373, not a wait."""
    slow = threading.Thread(
        target=front.http,
        args=(b"SELECT sleepEachRow(1) FROM numbers(2)",),
        kwargs={"session_id": "b"},
    )
    slow.start()
    running = b"SELECT count() >= 2 FROM system.processes WHERE query LIKE '%sleepEachRow%'"
    while slow.is_alive() and front.http(running)[1] != b"1\n":
        pass
    codes = set()
    while slow.is_alive():
        codes.add(front.http(b"SELECT 1", session_id="b")[2].get("X-ClickHouse-Exception-Code"))
    slow.join()
    assert "373" in codes


def test_a_head_request_leaves_no_bytes_before_the_next_reply(front: Any) -> None:
    """ClickHouse sends a HEAD before each GET of url() and reuses the connection."""
    path = "/?" + urlencode({"query": "SELECT number FROM numbers(3) FORMAT Native"})
    headers = {"X-ClickHouse-User": "default", "X-ClickHouse-Key": front.password}
    with closing(http.client.HTTPConnection("127.0.0.1", front.port, timeout=10)) as connection:
        for method, length in (("HEAD", 0), ("GET", 40), ("HEAD", 0), ("GET", 40)):
            connection.request(method, path, headers=headers)
            reply = connection.getresponse()
            assert (reply.status, len(reply.read())) == (200, length)


async def test_asynchronous_clients_run_concurrently(front: Any) -> None:
    """More inserts and reads at once than there are threads."""
    async with await clickhouse_connect.get_async_client(
        host="127.0.0.1",
        port=front.port,
        username="default",
        password=front.password,
        autogenerate_session_id=False,
    ) as found:
        await found.command("CREATE OR REPLACE TABLE many (a UInt32) ENGINE = MergeTree ORDER BY a")
        await asyncio.gather(
            *(found.insert("many", [[i]], column_names=["a"]) for i in range(20)),
            *(found.query("SELECT sleep(0.05)") for _ in range(20)),
        )
        assert (await found.query("SELECT count() FROM many")).result_rows == [(20,)]


def test_a_time_is_read_back_unchanged(client: Any) -> None:
    """The server's time zone is UTC, so a time in UTC needs no conversion (the client drops it)."""
    sql = "SELECT toDateTime64('2026-02-03 04:05:06.789', 3, 'UTC') AS t"
    (found,) = client.query(sql).result_rows[0]
    assert found.replace(tzinfo=UTC) == datetime(2026, 2, 3, 4, 5, 6, 789_000, tzinfo=UTC)
