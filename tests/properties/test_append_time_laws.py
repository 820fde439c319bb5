"""Searching a log by append time, with markers between the records."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from streams.connect.broker.append_times import first_since, last_record
from streams.core.types import RecordBatch, TopicPartition

TP = TopicPartition("t", 0)


class Log:
    """A reader of records at given offsets; the other offsets hold markers."""

    def __init__(self, records: list[tuple[int, int]], end: int) -> None:
        self.records = records
        self.end = end

    async def read(self, tp: TopicPartition, offset: int, max_records: int = 5000) -> RecordBatch:
        found = [place for place in self.records if place[0] >= offset]
        shown = found[:max_records]
        end = shown[-1][0] + 1 if len(found) > len(shown) else self.end
        return RecordBatch(
            tp, offset, end, [o for o, _ in shown], [t for _, t in shown],
            [None] * len(shown), [None] * len(shown), [()] * len(shown),
        )  # fmt: skip


@st.composite
def logs(draw: st.DrawFn) -> Log:
    """Append times rise; up to twenty markers precede each record and the end."""
    offset, at_ms, records = -1, 100, []
    for gap, step in draw(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 3)), max_size=30)):
        offset, at_ms = offset + 1 + gap, at_ms + step
        records.append((offset, at_ms))
    return Log(records, offset + 1 + draw(st.integers(0, 20)))


@given(logs(), st.data())
def test_the_found_offset_separates_older_from_newer_records(log: Log, data: st.DataObject) -> None:
    """All skipped records are older than the cutoff, and no other record is skipped."""
    low = data.draw(st.integers(0, log.end))
    cutoff_ms = data.draw(st.integers(98, 200))
    found = asyncio.run(first_since(log, TP, low, log.end, cutoff_ms))  # type: ignore[arg-type] # reads only
    assert low <= found <= log.end
    assert all(ms < cutoff_ms for offset, ms in log.records if low <= offset < found)
    assert all(ms >= cutoff_ms for offset, ms in log.records if offset >= found)


@given(logs(), st.data())
def test_the_last_record_before_an_offset_is_found(log: Log, data: st.DataObject) -> None:
    """It distinguishes a recreated topic from the one whose records were skipped."""
    low = data.draw(st.integers(0, log.end))
    end = data.draw(st.integers(low, log.end))
    found = asyncio.run(last_record(log, TP, low, end))  # type: ignore[arg-type] # reads only
    before = [place for place in log.records if low <= place[0] < end]
    assert found == (before[-1] if before else None)
