"""Runs of remembered ids against a dictionary."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tables.id_runs import IdRuns, Ids

events = st.tuples(st.integers(0, 3), st.integers(0, 3))
batches = st.lists(st.lists(st.tuples(events, st.integers(0, 99)), max_size=8), max_size=12)


def _ids(rows, first_offset):
    hi = np.array([event[0] for event, _ in rows], np.uint64)
    lo = np.array([event[1] for event, _ in rows], np.uint64)
    offsets = np.arange(first_offset, first_offset + len(rows))
    payload = offsets.astype(np.uint64)
    return Ids(hi, lo, payload, offsets, np.array([at for _, at in rows], np.int64))


@given(batches)
def test_the_newest_row_of_every_event_is_found(added):
    """Also where events share the upper half of their hash, within a run or across runs."""
    runs, known, offset = IdRuns(), {}, 0
    for rows in added:
        runs.add(_ids(rows, offset), horizon_ms=0)
        for event, _ in rows:
            known[event] = offset
            offset += 1
    wanted = [(hi, lo) for hi in range(5) for lo in range(5)]
    position, found = runs.find(
        np.array([hi for hi, _ in wanted], np.uint64), np.array([lo for _, lo in wanted], np.uint64)
    )
    by_event = dict(zip([wanted[i] for i in position.tolist()], found.offset.tolist(), strict=True))
    assert by_event == known


@given(batches, st.integers(0, 100))
def test_nothing_young_is_forgotten(added, horizon_ms):
    """Merging drops what expired, and only that."""
    runs, young, offset = IdRuns(), {}, 0
    for rows in added:
        runs.add(_ids(rows, offset), horizon_ms)
        for event, at_ms in rows:
            young[event] = at_ms >= horizon_ms
            offset += 1
    wanted = [event for event, is_young in young.items() if is_young]
    position, _ = runs.find(
        np.array([hi for hi, _ in wanted], np.uint64), np.array([lo for _, lo in wanted], np.uint64)
    )
    assert sorted(position.tolist()) == list(range(len(wanted)))
