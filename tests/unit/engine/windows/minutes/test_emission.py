"""Which rows are emitted next: rows of closed windows before provisional rows, within the shards'
room.
"""

from __future__ import annotations

import numpy as np
import pytest

from streams.core.rows.built_in_tables import version_of
from streams.core.rows.moved_mark import mark
from streams.engine.windows.minutes.minute_windows import MinuteWindows, WindowPolicy

MINUTE_MS = 60_000
DAY_MS = 86_400_000


class Windows:
    """A window table over two shards: tenants with a name of odd length go to shard 1."""

    def __init__(self, emit_rows_max=1000) -> None:
        policy = WindowPolicy(emit_rows_max=emit_rows_max)
        self.table = MinuteWindows(
            7, 0, 2, lambda t, m, x: np.array([len(n) % 2 for n in t], np.int32), policy
        )
        self.offset = 0
        self.seq = 0

    def fold(self, tenants, ts_ms=0):
        count = len(tenants)
        keys = self.table.names.keys(tenants, ["m"] * count, ["x"] * count)
        offsets = np.arange(self.offset, self.offset + count)
        self.offset += count
        columns = np.full(count, ts_ms, np.int64), np.ones(count), offsets
        self.table.fold(keys, *columns, np.full(count, 5, np.int64))

    def take(self, room=(1000, 1000), early=True):
        self.seq += 1
        self.table.delta(self.seq)
        return self.table.take_emissions(list(room), early)

    def take_sparing(self, *shards):
        self.seq += 1
        self.table.delta(self.seq)
        return self.table.take_emissions([1000, 1000], early=True, spared=shards)

    def close(self, now_ms=0):
        self.table.advance(10 * DAY_MS, 1000.0, now_ms)


def _tenants(emissions, shard=None):
    return [
        rows.tenants[code]
        for emission in emissions
        for rows in emission.rows
        for code in rows.tenant_code.tolist()
        if shard in (None, emission.shard)
    ]


def test_a_spared_shard_gets_rows_of_closed_windows_only():
    """At level 1 provisional rows for the shard wait in the state until it recovers; rows of closed
    windows go on, and the other shard is unaffected.
    """
    windows = Windows()
    windows.fold(["aa", "a"])
    assert _tenants(windows.take_sparing(0)) == ["a"]
    assert _tenants(windows.take_sparing()) == ["aa"]
    windows.fold(["aa", "a"])
    windows.close()
    assert sorted(_tenants(windows.take_sparing(0, 1))) == ["a", "aa"]
    assert _tenants(windows.take_sparing()) == []


def test_rows_to_a_shard_are_limited_by_its_room():
    """Rows beyond a shard's room stay in the state; the other shard is unaffected."""
    windows = Windows()
    windows.fold(["aa", "bb", "cc", "a", "b"])
    windows.close()
    taken = windows.take(room=(2, 9))
    assert sorted(_tenants(taken, 0)) == ["aa", "bb"]
    assert sorted(_tenants(taken, 1)) == ["a", "b"]
    assert _tenants(windows.take()) == ["cc"]
    assert windows.take() == []


def test_closed_windows_come_before_provisional_ones():
    """Rows of closed windows are in the outbox; provisional rows are best effort."""
    windows = Windows()
    windows.fold(["aa"], ts_ms=0)
    windows.fold(["bb"], ts_ms=9 * MINUTE_MS)
    windows.table.advance(4 * MINUTE_MS, 1000.0, 0)
    assert _tenants(windows.take(room=(1, 1))) == ["aa"]
    assert _tenants(windows.take(room=(1, 1))) == ["bb"]


def test_provisional_rows_have_a_budget_and_an_order():
    """Oldest change first: a busy window must not keep the others from being emitted."""
    windows = Windows(emit_rows_max=2)
    for tenant in ("aa", "bb", "cc"):
        windows.fold([tenant])
    assert _tenants(windows.take()) == ["aa"]
    windows.fold(["aa"])
    assert _tenants(windows.take()) == ["bb"]
    assert _tenants(windows.take()) == ["cc"]
    assert _tenants(windows.take()) == ["aa"]
    assert windows.take(early=False) == []


def test_a_row_is_sent_once_per_version():
    """Repeated rows would cost the shards as much as new ones."""
    windows = Windows()
    windows.fold(["aa"])
    (first,) = windows.take()
    assert windows.take() == []
    windows.fold(["aa"])
    (second,) = windows.take()
    assert (first.versions[0], second.versions[0]) == (1, 2)
    assert (first.rows[0].n[0], second.rows[0].n[0]) == (1, 2)
    assert first.since_ms[0] == second.since_ms[0] == 5


def test_an_emission_is_a_copy():
    """Rows are committed bytes and must not change by later folding."""
    windows = Windows()
    windows.fold(["aa"])
    (emission,) = windows.take()
    windows.fold(["aa"] * 5)
    (rows,) = emission.rows
    assert (rows.n[0], rows.s1[0], rows.ver[0], rows.sk_n.sum()) == (1, 1.0, 1, 1)


def test_rows_that_were_not_stored_are_emitted_again():
    """A row whose version was acknowledged meanwhile is not emitted again."""
    windows = Windows()
    windows.fold(["aa"])
    windows.close()
    (emission,) = windows.take()
    windows.table.released(emission)
    (again,) = windows.take()
    assert again.versions.tolist() == emission.versions.tolist()
    windows.table.acknowledged(again)
    windows.take()
    windows.table.released(emission)
    assert windows.take() == []
    assert windows.table.idle


@pytest.mark.parametrize(("age_days", "tables"), [(0, ["m1"]), (27, ["m1"]), (29, ["h1", "d1"])])
def test_windows_that_m1_cannot_keep_go_to_hours_and_days(age_days, tables):
    """Recomputing their day from expired minutes would lose data."""
    windows = Windows()
    now_ms = 100 * DAY_MS
    windows.table.advance(0, 0.0, now_ms)
    windows.fold(["aa"], ts_ms=now_ms - age_days * DAY_MS + 61 * MINUTE_MS)
    (emission,) = windows.take()
    assert [rows.table for rows in emission.rows] == tables
    width_s = {"m1": 60, "h1": 3600, "d1": 86_400}
    for rows in emission.rows:
        assert rows.w[0] % width_s[rows.table] == 0
        assert (rows.part, int(rows.inc[0])) == (7, 1)


def test_rows_name_the_move_that_placed_their_windows():
    """Readers tell them from rows that were stored before the day moved, and from copies of these."""
    windows = Windows()
    windows.fold(["aa"], 3 * DAY_MS)
    windows.table.add_map(1, 1, 2, lambda t, m, x: np.zeros(len(t), np.int32))
    windows.fold(["a"], DAY_MS)
    windows.fold(["b"])
    found = {
        rows.tenants[code]: (rows.shard, rows.moved)
        for emission in windows.take()
        for rows in emission.rows
        for code in rows.tenant_code.tolist()
    }
    assert found == {"aa": (0, 0), "a": (0, mark(2)), "b": (1, 0)}


def test_a_restore_leaves_out_what_began_before_a_move_of_its_day_was_taken():
    """An evicted window may still be in the changelog. Its row would go where the move places it,
    beside the copy of the row, and late records would be added to it."""
    before = Windows()
    before.fold(["aa"], DAY_MS)
    before.fold(["bb"], 3 * DAY_MS)
    entries = before.table.delta(1)
    after = Windows()
    after.table.add_map(1, 1, 2, lambda t, m, x: np.ones(len(t), np.int32), version_of(0, 2))
    after.table.load((key, value) for key, value in entries if value is not None)
    after.offset = before.offset
    assert not after.table.has_windows(1, 1)
    after.fold(["aa"], DAY_MS)
    found = [
        (rows.tenants[code], rows.shard, rows.moved, rows.n.tolist(), rows.inc.tolist())
        for emission in after.take()
        for rows in emission.rows
        for code in rows.tenant_code.tolist()
    ]
    assert sorted(found) == [("aa", 1, mark(2), [1], [3]), ("bb", 0, 0, [1], [2])]
