"""Rows of ClickHouse that show an event: a few by their key, from every shard."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from streams.connect.sinks.moved_rows import BY_SERIES, by_key
from streams.core.rows.clickhouse_table import ClickHouseTable
from streams.core.settings import Settings
from streams.operate.shard_answers import COUNTED, EveryShard

ROWS_MAX = 100
_SECONDS_MAX = 10
_COMPARISONS = {"=": operator.eq, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


class Where(NamedTuple):
    """``column`` compared with ``value``, a text, a number or a bool. ``sql``: the column as that
    type, for a time."""

    column: str
    value: Any
    operator: str = "="
    sql: str = ""

    def holds(self, row: Mapping[str, Any]) -> bool:
        """The same comparison in memory, where times are numbers."""
        return bool(_COMPARISONS[self.operator](row[self.column], self.value))


class ShownRows(Protocol):
    async def rows(
        self, table: str, columns: Mapping[str, str], where: Sequence[Where]
    ) -> list[dict[str, Any]]:
        """At most `ROWS_MAX` rows of ``table``, each the newest copy. ``columns``: their names, and
        each as an expression of ClickHouse.

        Raises `DiaError` where a shard does not answer or refuses.
        """
        ...


class ShardRows:
    """`ShownRows` of every shard; ``tables``: the declared ones. Close it after use. Raises
    `DependencyUnreachable` without a known shard."""

    def __init__(self, settings: Settings, tables: Mapping[str, ClickHouseTable]) -> None:
        self._tables = tables
        self._shards = EveryShard(settings, "trace")

    def close(self) -> None:
        self._shards.close()

    async def rows(
        self, table: str, columns: Mapping[str, str], where: Sequence[Where]
    ) -> list[dict[str, Any]]:
        parameters = {f"p{number}": one.value for number, one in enumerate(where)}
        conditions = [
            f"{one.sql or f'`{one.column}`'} {one.operator} {{p{number}:{_type(one.value)}}}"
            for number, one in enumerate(where)
        ]
        declared = self._tables.get(table)
        moving = COUNTED if declared is None or declared.day_of else ""
        by = BY_SERIES if declared is None else by_key(declared)
        sql = (
            f"SELECT {', '.join(columns.values())} FROM `{table}_local` FINAL "  # noqa: S608
            f"WHERE {' AND '.join(conditions)}{moving} LIMIT {ROWS_MAX} "
            f"SETTINGS max_execution_time = {_SECONDS_MAX}"
        )
        found = await self._shards.ask(sql, parameters, by)
        return [dict(zip(columns, row, strict=True)) for rows in found for row in rows]


def _type(value: Any) -> str:
    if isinstance(value, bool):
        return "Bool"
    return "Int64" if isinstance(value, int) else "String"
