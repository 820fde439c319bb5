"""One ClickHouse server through clickhouse-connect, with its errors as those of dia. The client's
own retries are off: they ignore our deadlines. All calls block; threads may share an instance."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import urlsplit

import clickhouse_connect
import pyarrow as pa
from clickhouse_connect.driver import httputil
from clickhouse_connect.driver.exceptions import (
    ClickHouseError,
    DataError,
    InternalError,
    NotSupportedError,
    ProgrammingError,
)
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError

from streams.connect.sinks import arrow, shard_claim
from streams.connect.sinks.arrow_result import (
    AnswerBytes,
    as_meant,
    opened_stream,
    record_batches,
    schema_of,
)
from streams.connect.sinks.shard_claim import Claims, ShardPlace
from streams.core.errors import ShardBusy, ShardUnavailable, TransientError
from streams.core.settings import TlsFiles

CONNECT_TIMEOUT_S = 5
_BUSY = frozenset({202, 241, 252, 745})
"""too many queries, memory limit, too many parts, overloaded"""
_SCHEMA = frozenset({8, 10, 16, 47, 60, 81})
"""unknown column, identifier, table or database"""
UNKNOWN_TABLE = (60, 81)
_UNFIT = frozenset({6, 25, 26, 27, 38, 41, 53, 69, 70, 72, 117, 128, 131, 321, 349, 407, 469})
"""errors of values: parsing, conversion, sizes, ranges, constraints"""

_REPLICATED = {
    # A majority of replicas must have the row, because the engine forgets it once acknowledged.
    "insert_quorum": "auto",
    "insert_quorum_parallel": 1,
    # A block that was inserted before is acknowledged and left out, also where its rows were deleted since: a
    # repeat must store it. Versions tell copies of a row apart.
    "insert_deduplicate": 0,
    "max_replica_delay_for_distributed_queries": 5,
}
_INSERT = {
    # The server need not merge rows of one key within an insert: readers do.
    "optimize_on_insert": 0
}
_DELAY = (
    "SELECT toFloat64(max(absolute_delay)) FROM system.replicas WHERE database = currentDatabase()"
)
_TAKEN = {
    # One insert may have the rows of every day.
    "max_partitions_per_insert_block": 0
}
_PIECE_BYTES = 1 << 20
_READ_ONLY = {"readonly": 2}
"""2: settings may change, data may not"""
_ARROW = {**_READ_ONLY, "output_format_arrow_string_as_string": 1}
_UNREADABLE = (
    *(DataError, InternalError, NotSupportedError, ProgrammingError),
    *(LookupError, TypeError, ValueError),
)
"""raised for result bytes that the client cannot decode"""
_ZONED = re.compile(r"DateTime\('([^']+)'\)")
_UP_HINT = "`dia status` shows which services run."

# Its warning per lost connection repeats the raised error.
logging.getLogger("clickhouse_connect").setLevel(logging.ERROR)


class RowsUnfit(Exception):  # noqa: N818 - found by bisection, then told as RowsRefused
    """A row of an insert can never be stored; the insert stored none, or an unknown part."""


class StatementRefused(Exception):  # noqa: N818 - an answer, as RowsRefused is
    """``code`` 0: the client cannot decode the result."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


class Replica:
    """At ``url`` (``http[s]://host:port[/prefix]``). Connects at the first use.

    Raises `ShardUnavailable`, `ShardBusy`, `ShardMapChanged`, and `StatementRefused` from reads."""

    def __init__(
        self,
        url: str,
        *,
        user: str,
        password: str,
        database: str,
        timeout_s: float,
        pool_size: int,
        tls: TlsFiles,
        place: ShardPlace | None = None,
        writes: bool = False,
        replicated: bool = False,
    ) -> None:
        """``place``: the claim that the server must hold, checked before the first request and
        after each failure. ``writes``: refuse a server without a claim. ``replicated``: inserts
        need a majority of the shard's replicas."""
        self.url = url
        self.confirmed = False
        """the server has confirmed that it holds ``place``"""
        self._place = place
        self._writes = writes
        self._replicated = replicated
        self._user = user
        self._password = password
        self._database = database
        self._timeout_s = timeout_s
        tls.check()
        self._pool = httputil.get_pool_manager(
            maxsize=pool_size,
            num_pools=1,
            retries=False,
            ca_cert=tls.ca or None,
            client_cert=tls.certificate or None,
            client_cert_key=tls.key or None,
        )
        self._lock = threading.Lock()
        self._connected: Any = None

    def insert(self, table: str, rows: pa.Table) -> None:
        """In one acknowledged INSERT. Also raises `RowsUnfit`. A buffer is sent without a copy, and
        the client cannot resend it."""
        with self._told(statement=False):
            self._client().raw_insert(
                table,
                column_names=rows.column_names,
                insert_block=arrow.stream(rows),
                settings=_INSERT,
                fmt="ArrowStream",
            )

    def command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        with self._told():
            self._client().command(sql, parameters=dict(parameters or {}))

    def create_database(self) -> None:
        """Every other call needs it."""
        with self._told():
            bootstrap = self._connect(database="default")
            bootstrap.command(f"CREATE DATABASE IF NOT EXISTS {self._database}")
            bootstrap.close()

    def query(
        self,
        sql: str,
        parameters: Mapping[str, Any] | None = None,
        limits: Mapping[str, Any] | None = None,
    ) -> tuple[Sequence[str], Sequence[Sequence[Any]]]:
        """``limits`` are ClickHouse settings of this query."""
        with self._told():
            result = self._client().query(
                sql, parameters=dict(parameters or {}), settings=dict(limits or {})
            )
            return result.column_names, result.result_rows

    def columns(self, sql: str) -> pa.Table:
        with self._told():
            return self._client().query_arrow(sql)

    def take(self, table: str, columns: Sequence[str], source: Replica, sql: str) -> None:
        """Insert what ``sql`` answers on another server, at least one row, piece by piece and undecoded. Also
        raises `RowsUnfit`, and the errors of both servers."""
        with self._told(statement=False):
            self._client().raw_insert(
                table,
                column_names=columns,
                insert_block=source._pieces(sql),
                settings=_TAKEN,
                fmt="Native",
            )

    def _pieces(self, sql: str) -> Iterator[bytes]:
        with self._told():
            answer = self._client().raw_stream(sql, settings=_READ_ONLY, fmt="Native")
        with closing(answer):
            while True:
                with self._told():
                    piece = answer.read(_PIECE_BYTES)
                if not piece:
                    return
                yield piece

    def delay_s(self) -> float:
        """Replication delay of the server's tables; 0 without replication."""
        ((delay_s,),) = self.query(_DELAY)[1]
        return float(delay_s)

    @contextmanager
    def rows(self, sql: str) -> Iterator[tuple[Sequence[str], Iterator[Sequence[Any]]]]:
        """Streamed, for results of any size; read-only. A `StatementRefused` of code 0 names the
        columns that the client cannot decode. Times are in the zone of their column, or in that of
        the server."""
        with self._told(), self._decoded(sql):
            client = self._client()
            # The first protocol version, which the local stack speaks, has no zone in type names.
            zones = {} if client.protocol_version else self._zones(sql)
            opened = client.query_rows_stream(
                sql, settings=_READ_ONLY, column_tzs=zones, tz_mode="aware"
            )
        with opened as stream:
            yield stream.source.column_names, self._as_they_come(stream, sql)

    @contextmanager
    def batches(self, sql: str) -> Iterator[tuple[pa.Schema, Iterator[pa.RecordBatch]]]:
        """As `rows`, by Arrow batches as the server makes them; one is in memory at a time. Also raises
        `UsageError` for a type that Arrow would hold without its meaning."""
        with self._told(), self._decoded(sql):
            types = self._types(sql)
            source = self._client().raw_stream(sql, settings=_ARROW, fmt="ArrowStream")
        with closing(AnswerBytes(source)) as answer:
            with self._told(), self._decoded(sql):
                reader = opened_stream(answer)
            schema = schema_of(reader.schema, types)
            batches = record_batches(answer, reader)
            yield schema, (as_meant(one, schema) for one in self._as_they_come(batches, sql))

    def close(self) -> None:
        """Without waiting for a connection that is being opened: its server may hang."""
        if self._lock.acquire(blocking=False):
            try:
                if self._connected is not None:
                    self._connected.close()
                self._connected = None
            finally:
                self._lock.release()
        self._pool.clear()
        httputil.all_managers.pop(self._pool, None)  # the client library keeps it for ever

    def _as_they_come(self, stream: Any, sql: str) -> Iterator[Any]:
        """Errors of the consumer between rows pass unchanged."""
        while True:
            with self._told(), self._decoded(sql):
                row = next(stream, None)
            if row is None:
                return
            yield row

    @contextmanager
    def _decoded(self, sql: str) -> Iterator[None]:
        try:
            yield
        except _UNREADABLE as error:
            if getattr(error, "code", None) is not None:
                raise  # an answer of the server
            raise StatementRefused(_undecoded(str(error), self._types(sql)), 0) from error

    def _zones(self, sql: str) -> dict[str, str]:
        found = ((name, _ZONED.fullmatch(kind)) for name, kind in self._types(sql))
        return {name: zone[1] for name, zone in found if zone}

    def _types(self, sql: str) -> list[tuple[str, str]]:
        inner = sql.strip().rstrip(";")
        try:
            described = self._client().query(f"DESCRIBE TABLE (\n{inner}\n)", settings=_READ_ONLY)
        except (ClickHouseError, HTTPError, OSError):
            return []  # the statement itself is sent too, and its error is shown
        return [(row[0], row[1]) for row in described.result_rows]

    def _client(self) -> Any:
        with self._lock:
            if self._connected is None:
                self._connected = self._connect(self._database)
            if self._place is not None and not self.confirmed:
                self.confirmed = self._settle(self._place, self._connected)
                if self._writes and not self.confirmed:
                    raise ShardUnavailable(
                        f"ClickHouse at {self.url} does not say which shard it holds. `dia migrate "
                        "apply` prepares it."
                    )
            return self._connected

    def claim(self, place: ShardPlace) -> None:
        """Raises `ShardMapChanged`."""
        with self._told():
            connected = self._client()

            def claim() -> None:
                connected.command(shard_claim.CLAIM, parameters=dict(place.parameters))

            self.confirmed = self._settle(place, connected, claim)

    def _settle(
        self, place: ShardPlace, connected: Any, claim: Callable[[], None] | None = None
    ) -> bool:
        def read() -> Claims:
            rows: Claims = connected.query(shard_claim.READ).result_rows
            return rows

        try:
            return place.settle(self.url, read, claim)
        except ClickHouseError as error:
            if getattr(error, "code", None) in UNKNOWN_TABLE:
                return False  # not migrated: the next statement fails with the reason
            raise

    def _connect(self, database: str) -> Any:
        parts = urlsplit(self.url)
        try:
            port = parts.port
        except ValueError as error:
            raise ShardUnavailable(f"{self.url} is no address of a server: {error}") from error
        client: Any = clickhouse_connect.get_client(
            interface=parts.scheme,
            host=parts.hostname or "",
            port=port or (8443 if parts.scheme == "https" else 8123),
            proxy_path=parts.path,
            username=self._user,
            password=self._password,
            database=database,
            connect_timeout=CONNECT_TIMEOUT_S,
            send_receive_timeout=max(1, round(self._timeout_s)),
            compress=False,
            pool_mgr=self._pool,
            query_retries=0,
            autogenerate_session_id=False,
            show_clickhouse_errors=True,
            settings={"async_insert": 0, **(_REPLICATED if self._replicated else {})},
        )
        client.http_retries = 0
        return client

    @contextmanager
    def _told(self, *, statement: bool = True) -> Iterator[None]:
        try:
            yield
        except (ClickHouseError, HTTPError, OSError) as error:
            failure = self._failure(error, statement=statement)
            if isinstance(failure, ShardUnavailable):
                self.confirmed = False  # another server may answer next
            raise failure from error

    def _failure(self, error: Exception, *, statement: bool) -> Exception:
        if unreached := _unreached(error):
            return ShardUnavailable(
                f"ClickHouse at {self.url} cannot be reached: {unreached}. Start the local stack "
                "with `dia up`, or correct DIA_CLICKHOUSE_SHARDS."
            )
        code: int | None = getattr(error, "code", None)
        text = " ".join(str(error).split())[:1000]
        if code in _BUSY:
            return ShardBusy(f"ClickHouse at {self.url} is overloaded: {text}")
        if not statement and code in _UNFIT:
            return RowsUnfit(text)
        if statement and code is not None and not _about_the_server(code):
            return StatementRefused(text, code)
        return self._unavailable(code, text)

    def _unavailable(self, code: int | None, text: str) -> TransientError:
        if code in {192, 193, 194, 497, 516}:
            return ShardUnavailable(
                f"ClickHouse at {self.url} refuses user {self._user}: check DIA_CLICKHOUSE_USER "
                "and DIA_CLICKHOUSE_PASSWORD_FILE."
            )
        hint = "`dia migrate status` compares its schema." if code in _SCHEMA else _UP_HINT
        return ShardUnavailable(f"ClickHouse at {self.url} did not take the request: {text} {hint}")


def _unreached(error: BaseException | None) -> str:
    while error is not None:
        reason = getattr(error, "reason", error)
        if isinstance(reason, NewConnectionError):
            return str(reason).rpartition("] ")[2].rstrip(")") or str(reason)
        if isinstance(reason, ConnectTimeoutError):
            return f"no connection within {CONNECT_TIMEOUT_S} s"
        error = error.__cause__ or error.__context__
    return ""


def _about_the_server(code: int) -> bool:
    """Whether an error code concerns the server's state or access, not the statement."""
    return code in {76, 159, 192, 193, 194, 209, 210, 236, 243, 439, 497, 516, 999, 1000}


def _undecoded(why: str, types: Sequence[tuple[str, str]]) -> str:
    states = [(name, kind) for name, kind in types if re.search(r"\bAggregateFunction\(", kind)]
    named = states or [(name, kind) for name, kind in types if kind in why]
    if not named:
        return (
            f"the result has a value that dia cannot show: {why}. Convert its column in the "
            "statement, for example with toString(column)."
        )
    columns = " and ".join(f"{name} of the type {kind}" for name, kind in named)
    hint = (
        "finalizeAggregation(column) gives the value" if states else "toString(column) gives text"
    )
    return f"dia cannot show the column {columns}. In the statement, {hint}."
