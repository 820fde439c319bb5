"""The chDB engine of one shard: connections, sessions, and three ways to run a statement.

A request without a session gets a new connection (0.1 ms), isolated from others' settings. All
calls block; `StatementLane` provides threads."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chdb.session import Session

from streams.dev.local.clickhouse_front import engine_config
from streams.dev.local.clickhouse_front.errors import StatementFailed, from_engine
from streams.dev.local.clickhouse_front.sessions import StatementSessions
from streams.dev.local.clickhouse_front.settings import quoted, set_clause
from streams.dev.local.clickhouse_front.statements import Insert


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    settings: Mapping[str, str] = field(default_factory=dict)
    """by name, for this request only"""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """values of ``{name:Type}`` placeholders"""
    database: str | None = None
    """None: the session's own, or the engine's default"""
    session_id: str | None = None
    session_timeout_s: float = 60.0
    session_check: bool = False
    """refuse a session that does not exist"""


@dataclass(frozen=True, slots=True)
class Summary:
    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    elapsed_ns: int = 0


class ChdbEngine:
    """One chDB data folder, opened by this process alone. Every method but `close` raises
    `StatementFailed`."""

    def __init__(
        self, path: Path, database: str, memory_bytes: int, backups: Path | None = None
    ) -> None:
        path.mkdir(parents=True, exist_ok=True)
        config = engine_config.write(path, memory_bytes, backups)
        self._path = str(path)
        self._database = database
        self._lock = threading.Lock()
        self._running = 0
        with _engine_errors():
            self._root = Session(f"{path}?config-file={config}")
            self._root.query(f"CREATE DATABASE IF NOT EXISTS {quoted(database)}")
            self.version = self._scalar("version()")
            self.timezone = self._scalar("timezone()")
        self.sessions = StatementSessions(self._open)

    def insert(self, call: Call, insert: Insert) -> Summary:
        """Once it returns, its rows are stored. The payload is an in-memory file: chDB's
        `send_insert` reports success when the table refuses the rows, which loses them."""
        with self._connection(call) as connection, _file(insert.payload) as path, _engine_errors():
            result = connection.query(insert.from_file(path), "Null")
            return _summary(result)

    def query(self, call: Call, sql: str, output_format: str) -> tuple[bytes, Summary]:
        with self._connection(call) as connection, _engine_errors():
            result = connection.query(sql, output_format, params=dict(call.parameters))
            return result.bytes() or b"", _summary(result)

    def stream(self, call: Call, sql: str, output_format: str) -> Generator[bytes]:
        """The result of a SELECT by chunks; closing the iterator cancels it."""
        with (
            self._connection(call) as connection,
            _engine_errors(),
            connection.send_query(sql, output_format, params=dict(call.parameters)) as chunks,
        ):
            for chunk in chunks:
                yield chunk.bytes()

    def close(self, deadline_s: float) -> int:
        """Returns the number of statements running at the deadline; then the engine stays open:
        chDB must not be closed during one."""
        deadline = time.monotonic() + deadline_s
        while self._running and time.monotonic() < deadline:
            time.sleep(0.02)
        if not self._running:
            self.sessions.close()
            self._root.close()
        return self._running

    def _scalar(self, expression: str) -> str:
        return str(self._root.query(f"SELECT {expression}", "TSV").data()).strip()

    def _open(self, database: str | None = None) -> Session:
        with _engine_errors():
            connection = Session(self._path)
            connection.query(f"USE {quoted(database or self._database)}")
            return connection

    @contextmanager
    def _connection(self, call: Call) -> Iterator[Session]:
        with self._lock:
            self._running += 1
        try:
            if call.session_id is None:
                connection = self._open(call.database)
                try:
                    _prepare(connection, call.settings)
                    yield connection
                finally:
                    connection.close()
            else:
                with self.sessions.borrow(
                    call.session_id, call.session_timeout_s, must_exist=call.session_check
                ) as connection:
                    before = _values(connection, call.settings)
                    if call.database is not None:
                        connection.query(f"USE {quoted(call.database)}")
                    try:
                        _prepare(connection, call.settings)
                        yield connection
                    finally:
                        _prepare(connection, before)
        finally:
            with self._lock:
                self._running -= 1


def _summary(result: Any) -> Summary:
    return Summary(
        read_rows=result.rows_read(),
        read_bytes=result.bytes_read(),
        written_rows=result.rows_written(),
        written_bytes=result.bytes_written(),
        elapsed_ns=int(result.elapsed() * 1e9),
    )


@contextmanager
def _file(content: memoryview) -> Iterator[str]:
    """The path of an anonymous in-memory file; removed afterwards."""
    descriptor = os.memfd_create("insert")
    try:
        while content:
            content = content[os.write(descriptor, content) :]
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


@contextmanager
def _engine_errors() -> Iterator[None]:
    try:
        yield
    except (StatementFailed, GeneratorExit):
        raise
    except Exception as error:
        raise from_engine(error) from error


def _prepare(connection: Session, settings: Mapping[str, str]) -> None:
    if settings:
        with _engine_errors():
            connection.query(f"SET {set_clause(settings)}")


def _values(connection: Session, settings: Mapping[str, str]) -> dict[str, str]:
    if not settings:
        return {}
    names = ", ".join(f"'{name}'" for name in settings)
    sql = f"SELECT name, value FROM system.settings WHERE name IN ({names})"  # noqa: S608 - bare words
    with _engine_errors():
        lines = str(connection.query(sql, "TSVRaw").data()).splitlines()
    return dict(line.split("\t", 1) for line in lines)
