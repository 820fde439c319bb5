"""Recomputes hours from minutes and days from hours. The rows are absolute, so it is idempotent."""

from __future__ import annotations

from streams.core.errors import RollUpExpired
from streams.core.rows import deviations
from streams.core.rows.built_in_tables import OFFSET_BITS, OFFSET_END, Bucket

DAY_S = 86_400
WIDTH_S: dict[Bucket, int] = {"h1": 3600, "d1": DAY_S}

SQL = """
INSERT INTO {table}_local
    (tenant, model, metric, w, part, moved, inc, n, s1, s2, mean, m2, lo, hi, lv, lt, sk_k, sk_n, ver)
SELECT
    tenant, model, metric, toDateTime({{start:UInt32}}, 'UTC'), moved, moved, 0,
    total, summed, squares, {mean} AS joint, {m2}, low, high, last, latest,
    sketch.1, sketch.2, versions
FROM
(
    SELECT tenant, model, metric, moved, {parts},
        sum(s1) AS summed, sum(s2) AS squares, min(lo) AS low, max(hi) AS high,
        argMax(lv, (lt, inc)) AS last, max(lt) AS latest,
        {sketch_and_version}
    FROM {source}_local FINAL
    WHERE {recomputed}w >= toDateTime({{start:UInt32}}, 'UTC')
        AND w < toDateTime({{stop:UInt32}}, 'UTC')
    GROUP BY tenant, model, metric, moved
)
"""
"""``inc = 0`` is the key of the recomputed row: no incarnation is 0. Rows that a move brought
(``moved``) have one of their own, whose ``part`` names the move.

Its version is the highest epoch or generation of its rows, then their count. It rises when a row
rises, is added or is rebuilt, so the row of the newer state wins, however the records of a window
are cut into incarnations."""
_SKETCH_AND_VERSION = f"""sumMap(sk_k, sk_n) AS sketch,
        bitOr(bitShiftLeft(max(bitShiftRight(ver, {OFFSET_BITS})), {OFFSET_BITS}),
            least(sum(n), {OFFSET_END})) AS versions"""
_ONE_EACH = """
SELECT tenant, model, metric, w, toUInt32(0) AS part, toUInt64(0) AS inc, total AS n, summed AS s1,
    squares AS s2, joint AS mean, apart AS m2, low AS lo, high AS hi, last AS lv, latest AS lt,
    sketch.1 AS sk_k, sketch.2 AS sk_n, versions AS ver, newest AS at
FROM
(
    SELECT *, {mean} AS joint, {m2} AS apart
    FROM
    (
        SELECT tenant, model, metric, w, {parts}, sum(s1) AS summed, sum(s2) AS squares,
            min(lo) AS low, max(hi) AS high, argMax(lv, (lt, moved)) AS last, max(lt) AS latest,
            max(at) AS newest,
            {sketch_and_version}
        FROM {table}_local FINAL WHERE inc = 0 AND {which}
        GROUP BY tenant, model, metric, w
    )
)
UNION ALL
SELECT tenant, model, metric, w, part, inc, n, s1, s2, mean, m2, lo, hi, lv, lt, sk_k, sk_n, ver,
    at
FROM {table}_local FINAL WHERE inc != 0 AND {which}
"""
SOURCE: dict[Bucket, str] = {"h1": "m1", "d1": "h1"}


def statement(table: Bucket) -> str:
    """Parameters ``start`` and ``stop`` in epoch seconds."""
    # In d1 the row of an hour's own window lies beside it
    # (`streams/engine/windows/minutes/minute_windows.py`).
    recomputed = "inc = 0 AND " if table == "d1" else ""
    return SQL.format(
        table=table,
        source=SOURCE[table],
        recomputed=recomputed,
        **deviations.SQL,
        sketch_and_version=_SKETCH_AND_VERSION,
    )


def one_each(table: Bucket, which: str) -> str:
    """The SELECT of the rows of which ``which`` is true: of each series and hour, or day, one recomputed
    row, however many there are by ``moved``."""
    return _ONE_EACH.format(
        table=table,
        which=which,
        **deviations.SQL,
        sketch_and_version=_SKETCH_AND_VERSION,
    )


def refuse_expired(table: Bucket, start_s: int, now_s: float, retention_days: int) -> None:
    """Raise `RollUpExpired` when minutes of this hour or day may have expired."""
    oldest_s = now_s - (retention_days - 1) * DAY_S
    if start_s < oldest_s:
        raise RollUpExpired(
            f"{table} of {start_s} is not recomputed: it starts more than {retention_days - 1} days "
            "back, and its minutes expire. The stored row is kept."
        )
