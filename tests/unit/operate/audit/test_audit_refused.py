"""Rows that ClickHouse refused are counted once, in the DLQ."""

from __future__ import annotations

import json

from streams.core.rows.built_in_tables import version_of
from streams.operate.audit.refused import RefusedRows
from streams.operate.audit.windows import StoredWindow, put_back

W = 1_700_000_040


def row(offset=0, *, version=5, n=2, epoch=1, **changes) -> bytes:
    """The value of a dead letter: the row of an incarnation that began at ``offset``."""
    fields = {
        "table": "m1",
        "tenant": "t",
        "model": "m",
        "metric": "x",
        "part": 3,
        "w": W,
        "lo": 1.0,
        "hi": 2.0,
        "inc": version_of(epoch, offset + 1),
        "ver": version_of(epoch, version + 1),
        "n": n,
        "s1": 3.0,
        "s2": 5.0,
        "mean": 1.5,
        "m2": 0.5,
        "lv": 2.0,
        "lt": 0,
        "sk_k": [1037],
        "sk_n": [n],
    }
    return json.dumps({**fields, **changes}).encode()


def refused(*letters) -> RefusedRows:
    rows = RefusedRows()
    for number, value in enumerate(letters):
        rows.add(f"letter-{number}", value)
    return rows


def test_the_newest_version_of_a_row_counts_once():
    """A worker that restarts may dead-letter the same row again, with newer contents."""
    rows = refused(row(version=5, n=2), row(version=9, n=4), row(version=7, n=3))
    assert rows.events() == {(3, 1): 4}


def test_incarnations_and_epochs_are_rows_of_their_own():
    """Their rows add up, as in the table."""
    assert refused(row(0), row(1), row(0, epoch=2)).events() == {(3, 1): 4, (3, 2): 2}


def test_hours_and_invalid_values_are_ignored():
    """An audit counts minutes; a dead letter without a valid row must not end it."""
    assert refused(row(table="h1"), b"{", None, b"[]").events() == {}


def test_a_row_that_was_inserted_after_all_is_no_longer_refused():
    """Otherwise an audit after a replay would count its events twice."""
    rows = refused(row(0), row(1))
    rows.forget({"letter-1"})
    assert rows.events() == {(3, 1): 2}


def test_refused_and_stored_rows_are_added():
    """The rows of a window may be in the table and in the DLQ."""
    taken = StoredWindow(n=1, s1=9.0, lo=9.0, hi=9.0, sketched=1, rows=[(7, 7, 1, 0)])
    stored = {("t", "m", "x", W, 1): taken}
    put_back(refused(row(0), row(7), row(1, part=4)).of(3), stored)
    assert stored == {
        ("t", "m", "x", W, 1): StoredWindow(
            n=3, s1=12.0, lo=1.0, hi=9.0, sketched=3, rows=[(7, 7, 1, 0), (0, 5, 2, -1)]
        )
    }
