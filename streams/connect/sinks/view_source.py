"""The source of one server's views: its own table, its peers' tables, or a cluster.

One shard: its own table. A ClickHouse cluster: a Distributed table. Several independent servers:
its own table, and each peer's through ``url()``, marked ``log_comment=dia_sister``. The peers'
address and password are in a named collection, made outside the recorded migrations: no view, plan
or error message shows the password."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from streams.connect.sinks.readable_views import readable_views
from streams.core.rows.clickhouse_table import ClickHouseTable, quoted

_WINDOW = {
    "tenant": "LowCardinality(String)",
    "model": "LowCardinality(String)",
    "metric": "LowCardinality(String)",
    "w": "DateTime('UTC')",
    "part": "UInt32",
    "inc": "UInt64",
    "n": "UInt64",
    "s1": "Float64",
    "s2": "Float64",
    "lo": "Float64",
    "hi": "Float64",
    "lv": "Float64",
    "lt": "DateTime64(3, 'UTC')",
    "sk_k": "Array(Int16)",
    "sk_n": "Array(UInt32)",
    "ver": "UInt64",
    "at": "DateTime64(3, 'UTC')",
    "mean": "Float64",
    "m2": "Float64",
}
_ROLLED_UP = {**_WINDOW, "sk_n": "Array(UInt64)"}

_MEANING = {
    "tenant": "tenant_id of the events",
    "model": "model_id of the events",
    "metric": "name of the metric",
    "w": "start of the window, in event time, UTC",
    "part": "source partition",
    "inc": "incarnation: epoch and first source offset + 1; a late event may begin another one",
    "n": "number of events",
    "s1": "sum of the values",
    "s2": "sum of the squared values",
    "lo": "smallest value",
    "hi": "largest value",
    "lv": "last value",
    "lt": "event time of the last value",
    "sk_k": "percentile sketch: codes of values, ascending",
    "sk_n": "percentile sketch: number of values of each code",
    "ver": "version: epoch and last source offset + 1; the highest row of an incarnation counts",
    "at": "when the row was inserted",
    "mean": "mean of the values",
    "m2": "sum of squared deviations from the mean",
}
"""of each column of a window"""

WINDOWS: Mapping[str, Mapping[str, str]] = {"m1": _WINDOW, "h1": _ROLLED_UP, "d1": _ROLLED_UP}
"""of each window view and of its ``_local`` table, in their public order"""

SISTER_COMMENT = "dia_sister"


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewSource:
    """``sisters`` maps shard number to address; ``tables`` are the declared ones, by name.
    ``counted``: of a table and a shard, the condition of `streams.connect.sinks.moved_rows`; ``shard``: the
    server's own."""

    database: str
    cluster: str = ""
    sisters: Mapping[int, str]
    tables: Mapping[str, ClickHouseTable]
    shard: int = 0
    counted: Callable[[str, int], str] = lambda table, shard: ""

    @property
    def columns(self) -> Mapping[str, Mapping[str, str]]:
        declared = {
            name: {column: str(kind) for column, kind in table.shown.items()}
            for name, table in self.tables.items()
        }
        return {**WINDOWS, **declared}

    def views(self) -> str:
        plain = "\n\n".join(
            f"CREATE OR REPLACE VIEW {self.database}.{name}{_commented(name)} "  # noqa: S608 - our own names
            f"AS SELECT * FROM ({self.rows(name)});"
            for name in self.columns
        )
        return f"{plain}\n{readable_views(self.database, frozenset(self.tables))}"

    def rows(self, name: str) -> str:
        """The SELECT of every shard's rows."""
        if self.cluster:
            return self._select(name, f"{self.database}.{name}_all FINAL")
        own = self._select(name, f"{self.database}.{name}_local FINAL", self.shard)
        others = [self._sister(name, shard, url) for shard, url in sorted(self.sisters.items())]
        return "\n    UNION ALL\n    ".join([own, *others])

    def distributed_tables(self) -> str:
        """They hold no rows, so one with other columns is replaced."""
        if not self.cluster:
            return ""
        return "\n".join(
            f"CREATE OR REPLACE TABLE {self.database}.{name}_all "
            f"AS {self.database}.{name}_local\n"
            f"ENGINE = Distributed({quoted(self.cluster)}, {quoted(self.database)}, "
            f"{quoted(name + '_local')});\n"
            for name in self.columns
        )

    def _select(self, name: str, source: str, shard: int | None = None) -> str:
        """``shard`` None: a source that has left out what does not count."""
        # An empty row stands for windows that no record has (docs/protocols/rebuild.md).
        counted = "" if shard is None else self.counted(name, shard)
        filled = (
            f" WHERE n > 0{counted}" if name in WINDOWS else f" WHERE 1{counted}" * bool(counted)
        )
        columns = ", ".join(self.columns[name])
        return f"SELECT {columns} FROM {source}{filled}"  # noqa: S608 - our own names

    def _sister(self, name: str, shard: int, url: str) -> str:
        rows = self._select(name, f"{self.database}.{name}_local FINAL", shard)
        query = rows + " FORMAT Native"
        address = f"{url.rstrip('/')}/?{urlencode({'query': query, 'log_comment': SISTER_COMMENT})}"
        structure = ", ".join(f"{column} {kind}" for column, kind in self.columns[name].items())
        source = (
            f"url({collection_name(shard)}, url = {quoted(address)}, "
            f"structure = {quoted(structure)})"
        )
        return self._select(name, source)


def _commented(name: str) -> str:
    """The columns of a window view with what they mean; "" for other views."""
    columns = WINDOWS.get(name, {})
    told = (
        f"{column} {kind} COMMENT {quoted(_MEANING[column])}" for column, kind in columns.items()
    )
    return f" ({', '.join(told)})" if columns else ""


def collection_name(shard: int) -> str:
    return f"dia_shard_{shard}"


def collections(sisters: Mapping[int, str], user: str, password: str) -> Sequence[str]:
    """Create each peer's named collection, or set its values. The statements contain secrets.

    After each statement, views can be read: a dropped collection would fail the queries in between.
    """
    # a named collection holds one header only
    credentials = b64encode(f"{user}:{password}".encode()).decode()
    statements = []
    for shard, url in sorted(sisters.items()):
        name = collection_name(shard)
        values = (
            f"url = {quoted(url)}, format = 'Native', "
            f"headers.header.name = 'Authorization', headers.header.value = 'Basic {credentials}'"
        )
        statements += [
            f"CREATE NAMED COLLECTION IF NOT EXISTS {name} AS {values}",
            f"ALTER NAMED COLLECTION {name} SET {values}",
        ]
    return statements
