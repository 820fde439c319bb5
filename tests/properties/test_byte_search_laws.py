"""A search finds the same bytes in compressed batches as in their records."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.connect.broker import byte_search
from streams.connect.broker.kafka.batches.decompression import HEADER_BYTES
from streams.connect.broker.kafka.batches.record_set import RecordSet
from tests.unit.connect.broker.test_zip_bombs import PACKERS, signed

letters = st.text("ab\0", max_size=40).map(str.encode)


@pytest.mark.parametrize("find", [byte_search._FIND, None], ids=["memmem", "find"])
@given(
    st.lists(st.tuples(st.sampled_from([0, *PACKERS]), letters), min_size=1, max_size=5),
    st.lists(st.text("ab\0", min_size=1, max_size=4).map(str.encode), min_size=1, max_size=2),
)
def test_a_batch_contains_what_its_records_contain(find, batches, needles):
    """Bytes that an earlier batch left in the memory that all are opened into are no part of it."""
    data = b"".join(signed(bytes(HEADER_BYTES - 45) + b"\2" + bytes(44), *one) for one in batches)
    before, byte_search._FIND = byte_search._FIND, find
    try:
        found, records = [], RecordSet(data)
        while records.has_next():
            records.next_batch()
            found.append(records.contains(needles))
    finally:
        byte_search._FIND = before
    assert found == [any(one in plain for one in needles) for _, plain in batches]
