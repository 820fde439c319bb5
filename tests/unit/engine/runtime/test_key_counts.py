"""Records of a batch by key: the same counts from places in the broker's bytes and from objects."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.records.framed_batch import framed
from streams.core.types import RecordBatch, TopicPartition
from streams.engine.runtime.poison import key_counts
from streams.engine.runtime.poison.key_counts import KeyCounts

_KEYS = st.lists(st.sampled_from([b"", b"a", b"b" * 40, "ä".encode(), b"\xff", None]), max_size=20)


def _batch(keys):
    batch = RecordBatch(TopicPartition("t", 0), 0, len(keys))
    for offset, key in enumerate(keys):
        batch.offsets.append(offset)
        batch.timestamps.append(0)
        batch.keys.append(key)
        batch.values.append(b"{}")
        batch.headers.append(())
    return batch


@given(st.lists(_KEYS, max_size=5))
def test_each_key_counts_as_in_a_list_of_objects(lists):
    """The breaker compares a tenant's bad records with these counts, whichever way they come."""
    counts = KeyCounts()
    for keys in lists:
        expected = {key: count for key, count in Counter(keys).items() if key is not None}
        keys_alone = RecordBatch(TopicPartition("t", 0), 0, len(keys), range(len(keys)), keys=keys)
        for batch in (_batch(keys), framed(_batch(keys)), keys_alone):
            assert counts.of(batch) == expected


@pytest.mark.parametrize("bound", ["_KEYS_MAX", "_BYTES_MAX"])
def test_new_keys_without_end_are_counted_in_bounded_memory(bound, monkeypatch):
    """A key may have a megabyte, and producers choose keys."""
    monkeypatch.setattr(key_counts, bound, 30)
    counts = KeyCounts()
    for first in range(0, 200, 7):
        keys = [b"%d" % number for number in range(first, first + 10)]
        assert counts.of(framed(_batch(keys))) == dict.fromkeys(keys, 1)
        assert len(counts) <= 30
