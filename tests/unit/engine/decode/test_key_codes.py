"""Numbers of keys, which placement, poison and load of a partition share."""

from __future__ import annotations

import pytest

from streams.core import kernels
from streams.core.records.framed_batch import framed
from streams.core.types import RecordBatch, TopicPartition
from streams.engine.decode import key_codes
from streams.engine.decode.key_codes import KeyCodes
from streams.engine.runtime.partition.key_placement import KeyPlacement
from streams.engine.runtime.poison.key_counts import KeyCounts

TP = TopicPartition("t", 0)

pytestmark = pytest.mark.skipif(kernels.active is None, reason="no key has a number")


def batch_of(keys):
    n = len(keys)
    return framed(RecordBatch(TP, 0, n, [*range(n)], [0] * n, [*keys], [b""] * n, [()] * n))


@pytest.mark.parametrize(("bound", "most"), [("_KEYS_MAX", 30), ("_BYTES_MAX", 90)])
def test_new_keys_without_end_have_bounded_memory(bound, most, monkeypatch):
    """A key may have a megabyte, and producers choose keys; at the bound all are looked up again."""
    monkeypatch.setattr(key_codes, bound, most)
    codes, counts, placement = KeyCodes(), KeyCounts(), KeyPlacement(TP, 1)
    told = []
    for first in range(0, 200, 7):
        keys = [b"%d" % number for number in range(first, first + 10)]
        batch = batch_of(keys)
        coded = codes.of(batch)
        assert coded is None or [coded.keys[code] for code in coded.codes] == keys
        assert counts.of(batch) == dict.fromkeys(keys, 1)
        assert placement.look(batch) == set()
        told.append(len(codes) if bound == "_KEYS_MAX" else codes.bytes_used)
    assert most // 2 < max(told) <= most


def test_a_batch_is_looked_up_once():
    """All that asks of its keys shares one list of them."""
    batch = batch_of([b"a", b"b", b"a"])
    first = KeyCodes().of(batch)
    assert KeyCodes().of(batch) is first
    assert (first.codes.tolist(), first.keys) == ([0, 1, 0], [b"a", b"b"])


def test_other_lists_of_keys_are_told_apart():
    """A batch that was cut, or another thread's, has other numbers: each key is counted and placed right."""
    counts, placement = KeyCounts(), KeyPlacement(TP, 1)
    for keys in ([b"a", b"b"], [b"b", b"a", b"a"], [b"c", b"b"]):
        alone, shared = batch_of(keys), batch_of(keys)
        KeyCodes().of(shared)
        for batch in (shared, alone):
            assert counts.of(batch) == {key: keys.count(key) for key in keys}
            assert placement.look(batch) == set()
