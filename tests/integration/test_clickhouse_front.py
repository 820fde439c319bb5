"""The local shard against the real client: what a ClickHouse server would have answered."""

from __future__ import annotations

import asyncio
import gzip
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import clickhouse_connect
import lz4.frame
import pyarrow as pa
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, StreamFailureError

from streams.local.ports import free_ports

pytestmark = pytest.mark.stack

PASSWORD = "it's a secret"
START_S = 30.0


class Front:
    """One front process on its own data folder."""

    def __init__(self, folder: Path, *extra: str) -> None:
        (self.port,) = free_ports(1)
        self._password = folder / "password"
        self._password.write_text(PASSWORD + "\n")
        self.log = folder / "front.log"
        self.command = [
            *(sys.executable, "-m", "streams.local.clickhouse_front"),
            *("--path", str(folder / "data"), "--port", str(self.port)),
            *("--password-file", str(self._password), "--log", str(self.log), *extra),
        ]
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self.command)
        deadline = time.monotonic() + START_S
        while not self._pings():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def _pings(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ping") as reply:
                return bool(reply.read() == b"Ok.\n")
        except OSError:
            return False

    def client(self, **options: Any) -> Any:
        options = {"compress": False, "autogenerate_session_id": False, **options}
        return clickhouse_connect.get_client(
            host="127.0.0.1", port=self.port, username="default", password=PASSWORD, **options
        )

    def http(
        self, body: bytes = b"", method: str = "POST", **query: str
    ) -> tuple[int, bytes, dict[str, str]]:
        headers = {"X-ClickHouse-User": "default", "X-ClickHouse-Key": PASSWORD}
        headers |= {"Content-Encoding": query.pop("encoding")} if "encoding" in query else {}
        url = f"http://127.0.0.1:{self.port}/?{urllib.parse.urlencode(query)}"
        data = None if method == "GET" else body
        request = urllib.request.Request(url, data, headers, method=method)
        try:
            with urllib.request.urlopen(request) as reply:
                return reply.status, reply.read(), dict(reply.headers)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read(), dict(error.headers)

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(30)


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A front shared by the tests of this module; stopping it must be clean."""
    running = Front(tmp_path_factory.mktemp("front"))
    yield running
    assert running.stop() == 0, running.log.read_text()


@pytest.fixture(params=[False, "lz4", "zstd", "gzip"], ids=str)
def client(front: Front, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A client of each compression in turn, with an empty table ``t``."""
    found = front.client(compress=request.param)
    found.command("CREATE OR REPLACE TABLE t (a UInt32, b String) ENGINE = MergeTree ORDER BY a")
    yield found
    found.close()


def test_the_client_knows_its_server(client: Any) -> None:
    """Version and zone steer what the client sends; the database is the front's default."""
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
    assert client.query("SHOW TABLES").result_rows == [("t",)]


def test_bound_parameters_are_values_not_text(client: Any) -> None:
    """Quotes, tabs and arrays go through as they are."""
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
def test_errors_have_clickhouses_code_and_status(
    front: Front, sql: str, code: int, status: int
) -> None:
    """Clients act on the code header; proxies act on the status."""
    found, body, headers = front.http(sql.encode())
    assert (found, headers["X-ClickHouse-Exception-Code"]) == (status, str(code))
    assert body.startswith(f"Code: {code}. DB::Exception: ".encode())


def test_a_client_sees_the_code_of_its_error(client: Any) -> None:
    """The pipeline tells back-pressure from faults by it."""
    with pytest.raises(DatabaseError) as caught:
        client.query("SELECT * FROM absent")
    assert caught.value.code == 60


def test_an_error_in_the_middle_of_a_stream_is_seen(client: Any) -> None:
    """Half a result must never pass for a whole one."""
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
def test_an_insert_the_table_refuses_is_an_error(front: Front, statement: str, code: int) -> None:
    """chDB's own streaming insert reports success here: acknowledged, and lost."""
    front.http(
        b"CREATE OR REPLACE TABLE guarded (a UInt32, CONSTRAINT c CHECK a < 9) "
        b"ENGINE = MergeTree ORDER BY a PARTITION BY a"
    )
    body = b"9\n" if code == 469 else b"1\n2\n"
    found, _, headers = front.http(statement.encode() + b"\n" + body)
    assert (found, headers["X-ClickHouse-Exception-Code"]) == (500, str(code))
    assert front.http(b"SELECT count() FROM guarded")[1] == b"0\n"


def test_a_damaged_or_cut_body_stores_nothing(front: Front) -> None:
    """A compressed body that ends early must not become a shorter insert."""
    front.http(b"CREATE OR REPLACE TABLE cut (a UInt32) ENGINE = MergeTree ORDER BY a")
    whole = gzip.compress(b"".join(b"%d\n" % i for i in range(5000)))
    insert = {"query": "INSERT INTO cut FORMAT TSV", "encoding": "gzip"}
    assert front.http(whole[:-20], **insert)[0] == 400
    assert front.http(b"no gzip at all", **insert)[0] == 400
    assert front.http(b"1\n", query=insert["query"], encoding="br")[0] == 415
    assert front.http(b"SELECT count() FROM cut")[1] == b"0\n"
    assert front.http(whole, **insert)[0] == 200
    assert front.http(b"SELECT count() FROM cut")[1] == b"5000\n"


def test_settings_last_one_request(front: Front) -> None:
    """A pooled connection that kept them would change a stranger's query."""
    ask = b"SELECT getSetting('max_block_size')"
    usual = front.http(ask)[1]
    assert front.http(ask, max_block_size="77")[1] == b"77\n"
    assert front.http(ask)[1] == usual


def test_a_session_keeps_what_it_set_and_nothing_else(front: Front) -> None:
    """Temporary tables and SET live in the session; URL settings still last one request."""
    here = {"session_id": "s1"}
    front.http(b"CREATE TEMPORARY TABLE mine (x UInt8)", **here)
    front.http(b"SET max_block_size = 55", **here)
    ask = b"SELECT getSetting('max_block_size')"
    assert front.http(ask, max_block_size="77", **here)[1] == b"77\n"
    assert front.http(ask, **here)[1] == b"55\n"
    assert front.http(b"SELECT count() FROM mine", **here)[0] == 200
    assert front.http(b"SELECT count() FROM mine", session_id="s2")[0] == 404
    assert front.http(b"SELECT 1", session_id="s3", session_check="1")[0] == 500


def test_a_session_takes_one_request_at_a_time(front: Front) -> None:
    """As on a server: code 373, not a wait."""
    slow = threading.Thread(
        target=front.http,
        args=(b"SELECT sleepEachRow(1) FROM numbers(2)",),
        kwargs={"session_id": "b"},
    )
    slow.start()
    codes = set()
    while slow.is_alive():
        codes.add(front.http(b"SELECT 1", session_id="b")[2].get("X-ClickHouse-Exception-Code"))
    slow.join()
    assert "373" in codes


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-ClickHouse-User": "default", "X-ClickHouse-Key": "wrong"},
        {"X-ClickHouse-User": "other", "X-ClickHouse-Key": PASSWORD},
        {"Authorization": "Basic !!!"},
    ],
)
def test_a_stranger_is_refused(front: Front, headers: dict[str, str]) -> None:
    """Loopback is shared by every user of the machine."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{front.port}/?query=SELECT+1", headers=headers
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    with caught.value as reply:
        assert reply.code == 403
        assert reply.headers["X-ClickHouse-Exception-Code"] == "516"
        assert PASSWORD.encode() not in reply.read()


def test_a_get_changes_nothing(front: Front) -> None:
    """As on a server; and a link on a web page is a GET."""
    status, _, headers = front.http(method="GET", query="CREATE TABLE x (a Int8) ENGINE = Memory")
    assert (status, headers["X-ClickHouse-Exception-Code"]) == (500, "164")
    assert front.http(method="GET", query="SELECT 1")[1] == b"1\n"


def test_a_held_result_is_bounded(front: Front) -> None:
    """A result that is not streamed lives in memory: it has a limit, also against a setting."""
    sql = b"SELECT repeat('x', 1000000) FROM numbers(400) SETTINGS max_block_size = 10"
    for query in ({}, {"max_result_bytes": "0"}):
        status, _, headers = front.http(sql, wait_end_of_query="1", **query)
        assert (status, headers["X-ClickHouse-Exception-Code"]) == (500, "396")


async def test_asynchronous_clients_work_side_by_side(front: Front) -> None:
    """Inserts and reads at once, more than there are threads."""
    async with await clickhouse_connect.get_async_client(
        host="127.0.0.1",
        port=front.port,
        username="default",
        password=PASSWORD,
        autogenerate_session_id=False,
    ) as found:
        await found.command("CREATE OR REPLACE TABLE many (a UInt32) ENGINE = MergeTree ORDER BY a")
        await asyncio.gather(
            *(found.insert("many", [[i]], column_names=["a"]) for i in range(20)),
            *(found.query("SELECT sleep(0.05)") for _ in range(20)),
        )
        assert (await found.query("SELECT count() FROM many")).result_rows == [(20,)]


def test_a_moment_comes_back_as_it_was(client: Any) -> None:
    """The server's zone is UTC, so a moment in UTC needs no conversion (the client drops it)."""
    sql = "SELECT toDateTime64('2026-02-03 04:05:06.789', 3, 'UTC') AS t"
    (found,) = client.query(sql).result_rows[0]
    assert found.replace(tzinfo=UTC) == datetime(2026, 2, 3, 4, 5, 6, 789_000, tzinfo=UTC)


def test_a_stop_lets_the_running_statement_finish(tmp_path: Path) -> None:
    """SIGTERM in the middle of a query: the answer still arrives, new ones are refused."""
    front = Front(tmp_path)
    answers: list[tuple[int, bytes, dict[str, str]]] = []
    query = threading.Thread(
        target=lambda: answers.append(front.http(b"SELECT sleepEachRow(1), 7 FROM numbers(2)"))
    )
    query.start()
    client = front.client()
    while client.command("SELECT count() FROM system.processes") < 2:
        time.sleep(0.01)
    front.process.send_signal(signal.SIGTERM)
    query.join()
    assert front.process.wait(30) == 0
    assert answers[0][:2] == (200, b"0\t7\n0\t7\n")
    client.close()


def test_acknowledged_rows_survive_a_kill(tmp_path: Path) -> None:
    """The pipeline forgets a row once it is acknowledged."""
    front = Front(tmp_path)
    front.http(b"CREATE TABLE kept (a UInt32) ENGINE = MergeTree ORDER BY a")
    for i in range(20):
        assert front.http(b"INSERT INTO kept FORMAT TSV\n%d\n" % i)[0] == 200
    os.kill(front.process.pid, signal.SIGKILL)
    front.process.wait()
    front.start()
    assert front.http(b"SELECT count() FROM kept")[1] == b"20\n"
    assert front.stop() == 0


def test_a_second_front_on_the_same_data_says_so(front: Front) -> None:
    """chDB locks its folder; the reason must be one sentence and the exit code 4."""
    command = [*front.command]
    command[command.index("--port") + 1] = str(free_ports(1)[0])
    second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 4
    assert "cannot start" in second.stderr


def test_a_busy_port_says_so(tmp_path: Path, front: Front) -> None:
    """Who starts a front reads its standard error."""
    command = [*front.command]
    command[command.index("--path") + 1] = str(tmp_path)
    second = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 4
    assert f"port {front.port} cannot be used" in second.stderr
