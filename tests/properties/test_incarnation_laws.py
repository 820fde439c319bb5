"""Every record has one row: that of its incarnation, or a new one where its row is lost."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streams.operate.rebuild.incarnations import BEFORE_ALL, ENDLESS, Incarnations

MINUTES = (29_000_000, 29_000_001)
KEYS = (7, 9, 12)
RECORDS = st.lists(
    st.tuples(st.sampled_from(KEYS), st.sampled_from(MINUTES), st.booleans(), st.booleans()),
    max_size=40,
)
"""key, minute, whether the record begins an incarnation, whether that one's row is lost"""


def _live_through(records, live_last):
    """Incarnations as the engine cuts them: (key, minute) -> [[first, last, lost], ...]."""
    windows = {}
    for offset, (key, minute, begins, lost) in enumerate(records):
        known = windows.setdefault((key, minute), [])
        if begins or not known:
            known.append([offset, offset, lost])
        known[-1][1] = offset
    if live_last:
        for known in windows.values():
            known[-1][1:] = ENDLESS, False
    return windows


def _columns(rows):
    columns = [*zip(*rows, strict=True)] or [(), (), (), ()]
    return [np.array(column, np.int64) for column in columns]


@given(records=RECORDS, live_last=st.booleans(), order=st.randoms())
def test_a_record_is_in_its_own_row_or_in_a_gap_that_only_lost_records_share(
    records, live_last, order
):
    """A record placed into another row would count twice, or in no row."""
    windows = _live_through(records, live_last)
    rows = [
        (*window, first, last)
        for window, known in windows.items()
        for first, last, lost in known
        if not lost
    ]
    order.shuffle(rows)
    known = Incarnations(*_columns(rows))
    asked = [(key, minute, offset) for offset, (key, minute, *_) in enumerate(records)]
    number, row = known.place(*_columns(asked) if asked else _columns([])[:3])
    for (key, minute, offset), place, at in zip(asked, number.tolist(), row.tolist(), strict=True):
        mine = next(one for one in reversed(windows[key, minute]) if one[0] <= offset)
        if mine[2]:
            assert place % 2 == 1
        else:
            assert place % 2 == 0
            assert known.first[at] == mine[0]
        before = [one for one in windows[key, minute] if one[0] <= offset and not one[2]]
        assert place // 2 == len(before)


@given(records=RECORDS)
def test_a_lost_row_comes_back_under_its_own_key(records):
    """A fenced worker that still sends it then replaces nothing, and adds nothing."""
    windows = _live_through(records, live_last=False)
    for (key, minute), incarnations in windows.items():
        for position, (first, last, _) in enumerate(incarnations):
            others = [one for at, one in enumerate(incarnations) if at != position]
            known = Incarnations(*_columns([(key, minute, *one[:2]) for one in others]))
            mine = [
                offset
                for offset, (k, m, *_) in enumerate(records)
                if (k, m) == (key, minute) and first <= offset <= last
            ]
            number, _ = known.place(*_columns([(key, minute, offset) for offset in mine]))
            assert len(set(number.tolist())) == 1
            assert number[0] % 2 == 1
            assert min(mine) == first


def test_a_series_without_rows_is_before_all():
    """Its whole window is lost."""
    known = Incarnations(*_columns([(7, MINUTES[0], 3, 5)]))
    for key, minute in ((8, MINUTES[0]), (7, MINUTES[1]), (7, MINUTES[0] - 1)):
        number, row = known.place(*_columns([(key, minute, 4)]))
        assert (number.tolist(), row.tolist()) == ([BEFORE_ALL], [-1])


def test_rows_that_overlap_are_cut_at_the_later_one():
    """A wrong row may claim records of the next: it loses them, and the rest is a gap."""
    known = Incarnations(*_columns([(7, MINUTES[0], 0, 20), (7, MINUTES[0], 6, 9)]))
    number, _ = known.place(*_columns([(7, MINUTES[0], offset) for offset in (5, 6, 9, 10, 20)]))
    assert number.tolist() == [2, 4, 4, 5, 5]
