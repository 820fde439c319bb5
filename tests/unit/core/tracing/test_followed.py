"""Links from a sampled record to its commits and rows, and their bounds."""

from __future__ import annotations

import numpy as np
import pytest

from streams.core.rows.built_in_tables import version_of
from streams.core.tracing.context import TraceContext
from streams.core.tracing.followed import FOLDED_MAX, LINKS_MAX, Fold, FollowedRecords
from streams.core.types import RecordBatch, TopicPartition
from tests.unit.core.tracing.recorder import CALLER, IGNORED

TP = TopicPartition("model.metrics", 0)
FOLD = Fold(0, 1, 1)
ORIGIN = TraceContext(7, 8, sampled=True)


def _batch(contexts, start=0):
    """A record for each context (None: without the header), appended at ``offset`` ms."""
    count = len(contexts)
    headers = [(("traceparent", one.header),) if one else () for one in contexts]
    offsets = list(range(start, start + count))
    keys, values = [b"t"] * count, [b"{}"] * count
    return RecordBatch(TP, start, start + count, offsets, offsets, keys, values, headers)


def _contexts(count):
    return [TraceContext(n + 1, 1, sampled=True) for n in range(count)]


@pytest.fixture
def records() -> FollowedRecords:
    return FollowedRecords()


def test_records_are_followed_to_the_commit_that_settles_them(records):
    """Folding continues during a commit: later records belong to the next one."""
    one, two = _contexts(2)
    records.folded(_batch([None, one, None]), FOLD)
    records.folded(_batch([two], start=3), FOLD)
    assert [found.context for found in records.settled(lambda offset: offset < 3)] == [one]
    assert [found.context for found in records.settled(lambda offset: offset < 4)] == [two]
    assert records.settled(lambda offset: True) == []


def test_a_request_of_many_events_is_one_link(records):
    """Ten thousand events of one request have one header."""
    records.folded(_batch([CALLER] * 5), FOLD)
    (found,) = records.settled(lambda offset: True)
    assert (found.first_offset, found.last_offset) == (0, 4)


def test_requests_that_finish_apart_are_linked_by_each_commit(records):
    """Jobs of one request body end in different commits."""
    records.folded(_batch([CALLER] * 2), FOLD)
    assert len(records.settled(lambda offset: offset < 1)) == 1
    assert len(records.settled(lambda offset: True)) == 1
    assert records.settled(lambda offset: True) == []


def test_unsampled_and_invalid_headers_are_not_followed(records):
    """The caller decides about sampling, and headers are untrusted."""
    batch = _batch([IGNORED, CALLER])
    batch.headers[1] = (("traceparent", b"nonsense"), ("other", b"x"))
    records.folded(batch, FOLD)
    assert records.settled(lambda offset: True) == []


def test_of_two_headers_the_last_counts(records):
    """As for every header of dia: a replay may have appended one."""
    batch = _batch([CALLER])
    batch.headers[0] = (*batch.headers[0], ("traceparent", ORIGIN.header))
    records.folded(batch, FOLD)
    (found,) = records.settled(lambda offset: True)
    assert found.context == ORIGIN


def test_the_number_of_links_is_bounded(records):
    """A producer that samples every record must not fill the memory with links."""
    records.folded(_batch(_contexts(2 * FOLDED_MAX)), FOLD)
    found = records.settled(lambda offset: True)
    assert len(found) == LINKS_MAX
    assert records.settled(lambda offset: True) == []
    for _ in range(2 * LINKS_MAX):
        records.await_rows(ORIGIN, found)
    assert len(records.origins(_ms(0), _versions(999))) == LINKS_MAX


def _ms(*values):
    return np.array(values, np.int64)


def _versions(*offsets):
    return np.array([version_of(2, offset + 1) for offset in offsets], np.uint64)


def test_the_first_row_that_holds_a_record_links_to_its_commit(records):
    """A row is linked if it is the first that contains the record."""
    records.folded(_batch([CALLER], start=10), FOLD)
    records.await_rows(ORIGIN, records.settled(lambda offset: True))
    assert records.origins(_ms(5), _versions(10)) == (ORIGIN,)
    assert records.origins(_ms(10, 99), _versions(12, 99)) == (ORIGIN,)
    assert records.origins(_ms(5), _versions(9)) == (), "a row from before the record must not link"
    assert records.origins(_ms(11), _versions(12)) == (), (
        "a row of later records only must not link"
    )


def test_a_commit_is_followed_until_all_its_rows_are_sent(records):
    """Provisional rows have a budget, and in a backlog there are none: the row may come a minute
    later.
    """
    records.folded(_batch([CALLER], start=10), FOLD)
    records.await_rows(ORIGIN, records.settled(lambda offset: True))
    records.shown(lambda: 10)
    assert records.origins(_ms(5), _versions(10)) == (ORIGIN,)
    records.shown(lambda: 11)
    assert records.origins(_ms(5), _versions(10)) == ()


def test_a_dropped_partition_is_forgotten(records):
    """The next owner, or this process after A1 to A5, reads the records again."""
    records.folded(_batch([CALLER]), FOLD)
    records.await_rows(ORIGIN, records.settled(lambda offset: True))
    records.folded(_batch([CALLER]), FOLD)
    records.forget()
    assert records.settled(lambda offset: True) == []
    assert records.origins(_ms(0), _versions(99)) == ()
