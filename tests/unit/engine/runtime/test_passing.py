"""Finished records above the prefix of a job partition, stored as columns."""

from __future__ import annotations

import sys
from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from streams.engine.runtime.jobs.passing import Passing, ReadRecord


@given(st.lists(st.one_of(st.integers(1, 6000), st.integers(-9000, -1)), max_size=12))
def test_passed_records_behave_as_a_queue(steps):
    """In every sequence of operations: a record that is passed twice would count twice."""
    passing, model, next_offset = Passing(), deque(), 10
    for step in steps:
        if step > 0:
            offsets = range(next_offset, next_offset + 2 * step, 2)
            passing.extend(offsets, (offset * 7 for offset in offsets))
            model.extend(ReadRecord(offset, offset * 7) for offset in offsets)
            next_offset += 2 * step
        else:
            count = min(-step, len(model))
            dropped = [model.popleft() for _ in range(count)]
            assert passing.offsets()[:count].tolist() == [read.offset for read in dropped]
            assert passing.drop(count).tolist() == [read.append_ms for read in dropped]
        assert len(passing) == len(model)
        if model:
            assert (passing.first, passing.last) == (model[0], model[-1])
            assert passing[len(model) // 2] == model[len(model) // 2]
    assert list(passing) == list(model)


def test_a_pending_record_takes_sixteen_bytes_and_a_passed_one_none():
    """One slow request of a tenant may hold back a million records of others."""
    passing = Passing()
    passing.extend(range(100_000), range(100_000))
    for _ in range(90):
        passing.drop(1000)
    assert len(passing) == 10_000
    columns = passing._offsets, passing._append_ms
    assert sum(map(sys.getsizeof, columns)) < 16 * 40_000
