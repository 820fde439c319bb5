"""Offset sets: the text in a plan or journal is exactly the chosen set."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.operate.replay.journal.dispositions import Dispositions, ReplayDisposition
from streams.operate.replay.journal.ranges import NOTHING, OffsetSet

members = st.sets(st.integers(0, 30))
"""Dense, so that ranges, holes and neighbours are frequent."""


@given(members)
def test_text_and_set_are_equivalent(chosen):
    """A plan that is read back as another set would replay other letters."""
    made = OffsetSet.of(sorted(chosen))
    again = OffsetSet.parse(str(made))
    assert set(again.offsets().tolist()) == chosen
    assert len(again) == len(chosen)
    assert bool(again) == bool(chosen)


@given(members, st.permutations(range(32)))
def test_the_mask_equals_membership(chosen, asked):
    """The runner selects the letters of a page by the mask."""
    mask = OffsetSet.of(sorted(chosen)).mask(np.array(asked, np.int64))
    assert mask.tolist() == [offset in chosen for offset in asked]


@given(members, st.integers(1, 5))
def test_joined_pieces_equal_the_set(chosen, ranges_max):
    """A large plan is written to the journal in pieces."""
    whole = OffsetSet.of(sorted(chosen))
    pieces = list(whole.pieces(ranges_max))
    joined = NOTHING
    for piece in pieces:
        joined = joined.joined(piece)
    assert str(joined) == str(whole)
    assert len(pieces) == max(1, -(-len(whole.first) // ranges_max))


@given(members, st.integers(1, 30), st.booleans())
def test_a_set_cut_anywhere_and_joined_is_equal(chosen, cut, touching):
    """A selection is gathered page by page; a range over two pages becomes one range."""
    ordered = sorted(chosen | {cut - 1, cut} if touching else chosen)
    low = OffsetSet.of([offset for offset in ordered if offset < cut])
    high = OffsetSet.of([offset for offset in ordered if offset >= cut])
    assert str(low.joined(high)) == str(OffsetSet.of(ordered))


def test_a_single_offset_is_written_without_a_range():
    """People read plans and journals, too."""
    assert str(OffsetSet.of([0, 1, 2, 5, 7, 8])) == "0-2,5,7-8"


@given(members, st.integers(0, 31), st.integers(0, 5))
def test_spans_cover_the_rest_and_skip_long_holes(chosen, start, gap):
    """A run reads only what it must of the DLQ, and nothing twice."""
    expected: list[tuple[int, int]] = []
    for offset in sorted(offset for offset in chosen if offset >= start):
        if expected and offset - expected[-1][1] <= gap:
            expected[-1] = (expected[-1][0], offset + 1)
        else:
            expected.append((offset, offset + 1))
    assert OffsetSet.of(sorted(chosen)).spans(start, gap) == expected


@pytest.mark.parametrize("text", ["5-3", "1,1", "3,1", "1-2,3", "x", "1-", "-1", "1,,2", "\uff11"])
def test_malformed_text_is_refused(text):
    """Any program may have written a plan file."""
    with pytest.raises(ValueError, match="not a"):
        OffsetSet.parse(text)


@given(st.lists(st.tuples(members, st.sampled_from(list(ReplayDisposition)[1:])), max_size=6))
def test_dispositions_keep_the_last_decision_and_count_all(history):
    """The count is the version of the ClickHouse row: a lower one would never show."""
    table, last, changes = Dispositions(), {}, {}
    for chosen, disposition in history:
        shifted = {offset + 4000 for offset in chosen}
        table.mark(OffsetSet.of(sorted(shifted)), disposition)
        for offset in shifted:
            last[offset] = disposition
            changes[offset] = changes.get(offset, 0) + 1
    offsets = np.arange(3900, 4500)
    assert table.codes(offsets).tolist() == [last.get(n, 0) for n in offsets.tolist()]
    assert table.versions(offsets).tolist() == [1 + changes.get(n, 0) for n in offsets.tolist()]
    assert sum(table.counts().values()) == len(last)
    assert all(table.of(offset) == disposition for offset, disposition in last.items())


@given(members, st.integers(3900, 4500))
def test_decisions_are_dropped_from_an_offset_on(chosen, first):
    """A DLQ that lost its end keeps exactly the decisions on the letters before it."""
    table = Dispositions()
    shifted = {offset + 4000 for offset in chosen}
    table.mark(OffsetSet.of(sorted(shifted)), ReplayDisposition.REPLAYED)
    table.forget_from(first)
    offsets = np.arange(3900, 4500)
    kept = [int(n in shifted and n < first) for n in offsets.tolist()]
    assert table.codes(offsets).tolist() == kept
    assert table.versions(offsets).tolist() == [1 + n for n in kept]
