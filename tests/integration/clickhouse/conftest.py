"""A local shard process, and a migrated database on the session's shards."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import clickhouse_connect
import numpy as np
import pytest
from numpy.typing import NDArray

from agents.app import app
from streams import cli
from streams.connect.sinks import schema
from streams.core.clock import SystemClock
from streams.core.rows.built_in_tables import WindowRows
from streams.core.settings import Settings
from streams.dev.local.ports import free_ports
from streams.dev.local.stack import StackStatus
from streams.engine.windows.minutes.sketch_code import encode

DATABASE = "queries"
PASSWORD = "it's a secret"
START_S = 200.0
DAY_S = 86_400


class Front:
    """One front process on its own data folder. ``program``: the Python arguments that start it;
    ``options`` are appended to the front's own."""

    def __init__(
        self,
        folder: Path,
        program: Sequence[str] = ("-m", "streams.dev.local.clickhouse_front"),
        options: Sequence[str] = (),
    ) -> None:
        (self.port,) = free_ports(1)
        self.password = PASSWORD
        self._password = folder / "password"
        self._password.write_text(PASSWORD + "\n")
        self.log = folder / "front.log"
        self.command = [
            *(sys.executable, *program),
            *("--path", str(folder / "data"), "--port", str(self.port)),
            *("--password-file", str(self._password), "--log", str(self.log)),
            *options,
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


@pytest.fixture(scope="session")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A front shared by the session; it must stop cleanly."""
    running = Front(tmp_path_factory.mktemp("front"))
    yield running
    assert running.stop() == 0, running.log.read_text()


@pytest.fixture
def start_front() -> Iterator[Callable[..., Front]]:
    """Starts a front on a folder; it is stopped after the test."""
    started: list[Front] = []

    def start(folder: Path) -> Front:
        started.append(Front(folder))
        return started[-1]

    yield start
    for front in started:
        if front.process.poll() is None:
            front.stop()


@pytest.fixture(scope="session")
def settings(stack: StackStatus) -> Iterator[Settings]:
    """The session's shards, with a migrated database for these tests."""
    found = Settings(
        clickhouse_shards=",".join(stack.shards),
        clickhouse_user=stack.clickhouse_user,
        clickhouse_password_file=str(stack.clickhouse_password_file),
        clickhouse_database=DATABASE,
    )
    for server in schema.servers(found, app.clickhouse_tables):
        assert server.migrator.apply()
        server.replica.close()
    yield found
    for server in schema.servers(found, app.clickhouse_tables):
        server.replica.command(f"DROP DATABASE {DATABASE}")
        server.replica.close()


@pytest.fixture
def servers(settings: Settings) -> Iterator[list[schema.Server]]:
    """Both servers, for direct queries."""
    found = schema.servers(settings, app.clickhouse_tables)
    yield found
    for server in found:
        server.replica.close()


@pytest.fixture
def dia(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Any:
    """Run a command against the migrated database; return (exit code, stdout, stderr)."""
    monkeypatch.setenv("DIA_CLICKHOUSE_SHARDS", settings.clickhouse_shards)
    monkeypatch.setenv("DIA_CLICKHOUSE_USER", settings.clickhouse_user)
    monkeypatch.setenv("DIA_CLICKHOUSE_PASSWORD_FILE", settings.clickhouse_password_file)
    monkeypatch.setenv("DIA_CLICKHOUSE_DATABASE", DATABASE)

    def run(*args: str) -> tuple[int, str, str]:
        code = cli.main(args)
        return code, *capsys.readouterr()

    return run


def _yesterday() -> int:
    """The start of the previous UTC day, in seconds: complete, and kept as minutes."""
    return SystemClock().now_ms() // 1000 // DAY_S * DAY_S - DAY_S


@pytest.fixture(scope="session")
def yesterday() -> Any:
    """The start of the previous UTC day, in seconds."""
    return _yesterday


def _minutes_of(
    tenant: str, start_s: int, values: NDArray[np.float64], part: int, minutes: int = 60
) -> WindowRows:
    """``values`` spread over the minutes of an hour, folded as the pipeline folds them."""
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
        mean=column(np.mean),
        m2=column(lambda chunk: len(chunk) * np.var(chunk)),
        lo=column(np.min),
        hi=column(np.max),
        lv=column(lambda chunk: chunk[-1]),
        lt=(starts * 1000 + part).astype(np.int64),
        sk_off=np.r_[0, np.cumsum([len(code) for code, _ in codes])].astype(np.int32),
        sk_k=np.concatenate([code for code, _ in codes]),
        sk_n=np.concatenate([counts for _, counts in codes]).astype(np.uint32),
        ver=np.arange(1, count + 1, dtype=np.uint64),
    )


@pytest.fixture(scope="session")
def minutes_of() -> Any:
    """Folds values into minute rows."""
    return _minutes_of
