"""What a local shard withstands: unauthorised clients, damaged input, excess, stops and kills."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from streams.dev.local.ports import free_ports

pytestmark = pytest.mark.stack


def test_a_damaged_or_truncated_body_stores_nothing(front: Any) -> None:
    """A truncated compressed body must not become a shorter insert."""
    front.http(b"CREATE OR REPLACE TABLE cut (a UInt32) ENGINE = MergeTree ORDER BY a")
    whole = gzip.compress(b"".join(b"%d\n" % i for i in range(5000)))
    insert = {"query": "INSERT INTO cut FORMAT TSV", "encoding": "gzip"}
    assert front.http(whole[:-20], **insert)[0] == 400
    assert front.http(b"no gzip at all", **insert)[0] == 400
    assert front.http(b"1\n", query=insert["query"], encoding="br")[0] == 415
    assert front.http(b"SELECT count() FROM cut")[1] == b"0\n"
    assert front.http(whole, **insert)[0] == 200
    assert front.http(b"SELECT count() FROM cut")[1] == b"5000\n"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-ClickHouse-User": "default", "X-ClickHouse-Key": "wrong"},
        {"X-ClickHouse-User": "other"},
        {"Authorization": "Basic !!!"},
    ],
)
def test_a_client_without_the_password_is_refused(front: Any, headers: dict[str, str]) -> None:
    """Every user of the machine reaches loopback."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{front.port}/?query=SELECT+1", headers=headers
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    with caught.value as reply:
        assert reply.code == 403
        assert reply.headers["X-ClickHouse-Exception-Code"] == "516"
        assert front.password.encode() not in reply.read()


def test_a_get_changes_nothing(front: Any) -> None:
    """As on a server: a link on a web page sends a GET."""
    status, _, headers = front.http(method="GET", query="CREATE TABLE x (a Int8) ENGINE = Memory")
    assert (status, headers["X-ClickHouse-Exception-Code"]) == (500, "164")
    assert front.http(method="GET", query="SELECT 1")[1] == b"1\n"


def test_a_statement_cannot_read_files_of_the_machine(front: Any) -> None:
    """Neither by a table function nor by the engine's file database."""
    for sql in (b"SELECT file('/etc/hostname')", b"SELECT * FROM default.`/etc/hostname`"):
        status, body, headers = front.http(sql)
        assert (status, headers["X-ClickHouse-Exception-Code"]) == (500, "291")
        assert b"DATABASE_ACCESS_DENIED" in body
    status, _, headers = front.http(b"SELECT * FROM `/etc/hostname`", database="default")
    assert (status, headers["X-ClickHouse-Exception-Code"]) == (404, "60")


def test_a_buffered_result_is_bounded(front: Any) -> None:
    """A result that is not streamed is kept in memory: settings cannot raise its limit."""
    sql = b"SELECT repeat('x', 1000000) FROM numbers(400) SETTINGS max_block_size = 10"
    for query in ({}, {"max_result_bytes": "0"}):
        status, _, headers = front.http(sql, wait_end_of_query="1", **query)
        assert (status, headers["X-ClickHouse-Exception-Code"]) == (500, "396")


def test_a_stop_lets_a_running_statement_finish(tmp_path: Path, start_front: Any) -> None:
    """After SIGTERM, a running query still gets its answer, and new ones are refused."""
    front = start_front(tmp_path)
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


def test_acknowledged_rows_survive_a_kill(tmp_path: Path, start_front: Any) -> None:
    """The pipeline deletes a row from its state once it is acknowledged."""
    front = start_front(tmp_path)
    front.http(b"CREATE TABLE kept (a UInt32) ENGINE = MergeTree ORDER BY a")
    for i in range(20):
        assert front.http(b"INSERT INTO kept FORMAT TSV\n%d\n" % i)[0] == 200
    os.kill(front.process.pid, signal.SIGKILL)
    front.process.wait()
    front.start()
    assert front.http(b"SELECT count() FROM kept")[1] == b"20\n"
    assert front.stop() == 0


def test_a_second_front_on_the_same_data_is_refused(front: Any) -> None:
    """chDB locks its folder; the front reports it in one sentence and exits with code 4."""
    command = [*front.command]
    command[command.index("--port") + 1] = str(free_ports(1)[0])
    second = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert second.returncode == 4
    assert "cannot start" in second.stderr


def test_a_busy_port_is_reported(tmp_path: Path, front: Any) -> None:
    """The program that starts a front reads its standard error."""
    command = [*front.command]
    command[command.index("--path") + 1] = str(tmp_path)
    second = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert second.returncode == 4
    assert f"port {front.port} cannot be used" in second.stderr
