"""Row versions, by which ClickHouse selects the newest copy of a row, up to their bounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.errors import OffsetLimit
from streams.core.rows.built_in_tables import (
    EPOCH_END,
    OFFSET_END,
    commit_version,
    epoch_of,
    offset_of,
    offsets_of,
    version_of,
)
from streams.engine.windows.minutes.minute_windows import MinuteWindows, WindowPolicy

epochs = st.integers(0, EPOCH_END - 1)
offsets = st.integers(0, OFFSET_END - 1) | st.sampled_from(
    [2**40 - 2, 2**40 - 1, 2**40, 2**41 + 5, OFFSET_END - 2, OFFSET_END - 1]
)
DOUBLES_EXACT_BELOW = 2**53


@given(epochs, offsets, epochs, offsets)
def test_a_version_orders_by_epoch_then_offset_and_gives_both_back(e1, o1, e2, o2):
    """An offset that overflowed into the epoch's bits would make audits report events as lost and
    doubled.
    """
    first, second = version_of(e1, o1 + 1), version_of(e2, o2 + 1)
    assert (epoch_of(first), offset_of(first)) == (e1, o1)
    assert offsets_of(np.array([first], np.uint64)).tolist() == [o1]
    assert (first < second) == ((e1, o1) < (e2, o2))
    assert first < 2**63


@given(epochs, st.integers(0, 2**40 - 1))
def test_a_version_of_a_commit_is_exact_as_a_double(epoch, seq):
    """Redis scripts and JavaScript use doubles: two versions must not become one number."""
    assert commit_version(epoch, seq) < DOUBLES_EXACT_BELOW
    assert commit_version(epoch, seq) < commit_version(epoch + 1, 0)


def _fold(table: MinuteWindows, *offsets: int) -> None:
    count = len(offsets)
    keys = table.names.keys(["t"] * count, ["m"] * count, ["x"] * count)
    times = np.full(count, 60_000, np.int64)
    table.fold(keys, times, np.ones(count), np.array(offsets, np.int64), times)


def test_the_last_offset_that_fits_is_folded_and_the_next_stops_the_partition():
    """Beyond the bound a row would have the version of the next epoch: the stop has its own code."""
    table = MinuteWindows(
        0, EPOCH_END - 1, 1, lambda t, m, k: np.zeros(len(t), np.int32), WindowPolicy()
    )
    _fold(table, OFFSET_END - 2, OFFSET_END - 1)
    ((rows,),) = (emission.rows for emission in table.take_emissions([10], early=True))
    assert [epoch_of(int(ver)) for ver in rows.ver] == [EPOCH_END - 1]
    assert [offset_of(int(ver)) for ver in rows.ver] == [OFFSET_END - 1]
    assert [offset_of(int(inc)) for inc in rows.inc] == [OFFSET_END - 2]
    with pytest.raises(OffsetLimit, match="No record of the batch was counted"):
        _fold(table, OFFSET_END)
