"""Progress counters add up: offsets, counts and event time of the folded batches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.types import RecordBatch, TopicPartition
from streams.engine.runtime.assignment import first_link
from streams.engine.runtime.offsets.shed_order import ShedOrder
from streams.engine.runtime.partition.progress import Progress

TP = TopicPartition("topic", 0)
batches = st.lists(st.lists(st.booleans(), max_size=10), max_size=10)
times = st.lists(st.tuples(st.integers(0, 10**12), st.integers(0, 10**12)), max_size=10)


def _batches(plan, start):
    """Batches of consecutive offsets; False is an offset without a record."""
    offset = start
    for holds in plan:
        offsets = [offset + i for i, holds_record in enumerate(holds) if holds_record]
        stamps = [1000 + at for at in offsets]
        nothing = [None] * len(offsets)
        yield RecordBatch(TP, offset, offset + len(holds), offsets, stamps, nothing, nothing)
        offset += len(holds)


@given(batches, st.integers(0, 5))
def test_every_offset_is_read_or_a_gap(plan, start):
    """The ledger's law: next_offset - start == read + gaps."""
    progress = Progress.after(first_link(start, bytes(16)))
    for batch in _batches(plan, start):
        progress.passed(batch)
    counters = progress.counters()
    assert counters.read + counters.gaps == progress.fold_offset - start
    assert counters.read == sum(map(sum, plan))
    held = [offset for batch in _batches(plan, start) for offset in batch.offsets]
    assert progress.last_offset == (held[-1] if held else -1)
    assert progress.last_append_ms == (1000 + held[-1] if held else 0)


@given(st.lists(times, max_size=5))
def test_the_watermark_never_goes_back_nor_ahead_of_append_time(observed):
    """One producer with a fast clock must not close every tenant's windows."""
    progress = Progress.after(first_link(0, bytes(16)))
    for rows in observed:
        before = progress.watermark_ms
        event = np.array([ts for ts, _ in rows], np.int64)
        append = np.array([ms for _, ms in rows], np.int64)
        progress.observe(event, append)
        assert progress.watermark_ms == max([before, *(min(pair) for pair in rows)])


@pytest.mark.parametrize(
    ("last", "known"), [(-1, (19, 1019)), (19, (19, 1019)), (20, (20, 5000)), (29, (29, 5000))]
)
def test_a_shed_range_is_read_as_a_whole_and_leaves_its_last_record(last, known):
    """The next owner compares that record with the log, to notice that it is another one. A range
    without a record leaves the one before it."""
    progress = Progress.after(first_link(0, bytes(16)))
    for batch in _batches([[True] * 20], 0):
        progress.passed(batch)
    progress.skipped(
        ShedOrder(
            id="o", until=30, epoch=0, last_offset=last, last_append_ms=5000, before_ms=0, at_ms=0,
            actor="eve", reason="too old",
        )
    )  # fmt: skip
    assert (progress.fold_offset, progress.read, progress.shed) == (30, 30, 10)
    assert (progress.last_offset, progress.last_append_ms) == known


@pytest.mark.parametrize(
    ("ms", "day"), [(0, 0), (400 * 86_400_000 - 1, 399), (400 * 86_400_000, 400)]
)
def test_a_day_ends_at_midnight_utc(ms, day):
    """A map of shards begins at that moment, on every machine."""
    progress = Progress.after(first_link(0, bytes(16)))
    progress.observe(np.array([ms], np.int64), np.array([ms], np.int64))
    assert progress.last_day == day


@given(st.lists(times, max_size=5))
def test_the_last_day_is_that_of_the_latest_event_folded(observed):
    """A map of shards for a later day may be taken; one of a folded day would move rows."""
    progress = Progress.after(first_link(0, bytes(16)))
    seen = []
    for rows in observed:
        seen += [ts // 86_400_000 for ts, _ in rows]
        event = np.array([ts for ts, _ in rows], np.int64)
        append = np.array([ms for _, ms in rows], np.int64)
        progress.observe(event, append)
        assert progress.last_day == max(seen, default=-1)


@given(batches, st.dictionaries(st.sampled_from(["a", "b"]), st.integers(1, 9)))
def test_counters_are_a_copy(plan, dead):
    """A commit's counters must not change while it is sent."""
    progress = Progress.after(first_link(0, bytes(16)))
    progress.dead_by_code.update(dead)
    frozen = progress.counters()
    before = dict(frozen.dead_by_code)
    progress.dead_by_code["a"] += 1
    for batch in _batches(plan, 0):
        progress.passed(batch)
    assert frozen.read == 0
    assert frozen.dead_by_code == before
    assert frozen.dead == sum(before.values())
