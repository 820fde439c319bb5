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
        sumMap(sk_k, sk_n) AS sketch,
        bitOr(bitShiftLeft(max(bitShiftRight(ver, {bits})), {bits}), least(sum(n), {largest}))
            AS versions
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
SOURCE: dict[Bucket, str] = {"h1": "m1", "d1": "h1"}


def statement(table: Bucket) -> str:
    """Parameters ``start`` and ``stop`` in epoch seconds."""
    # In d1 the row of an hour's own window lies beside it
    # (`streams/engine/windows/minute_windows.py`).
    recomputed = "inc = 0 AND " if table == "d1" else ""
    return SQL.format(
        table=table,
        source=SOURCE[table],
        recomputed=recomputed,
        parts=deviations.PARTS_SQL,
        mean=deviations.MEAN_SQL,
        m2=deviations.M2_SQL,
        bits=OFFSET_BITS,
        largest=OFFSET_END,
    )


def refuse_expired(table: Bucket, start_s: int, now_s: float, retention_days: int) -> None:
    """Raise `RollUpExpired` when minutes of this hour or day may have expired."""
    oldest_s = now_s - (retention_days - 1) * DAY_S
    if start_s < oldest_s:
        raise RollUpExpired(
            f"{table} of {start_s} is not recomputed: it starts more than {retention_days - 1} days "
            "back, and its minutes expire. The stored row is kept."
        )
