"""Counting dead letters: sums are exact, and producers cannot make them grow without bound."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from agents.app import app
from streams.core.types import RecordBatch, TopicPartition
from streams.operate.dlq import tally as module
from streams.operate.dlq.dead_letter import letters
from streams.operate.dlq.tally import FIELDS, OTHERS, DeadLetterTally

NOW_MS = 1_800_000_000_000
codes = st.sampled_from(["wrong_type", "invalid_json", "a", "b", "c", "d"])
cases = st.lists(st.tuples(codes, st.integers(0, 2**45)), max_size=40)


def found(cases):
    headers = [
        (("dia.dlq.id", b"x"), ("dia.dlq.error_code", code.encode()),
         ("dia.dlq.first_failed_at", b"%d" % at))
        for code, at in cases
    ]  # fmt: skip
    n = len(cases)
    batch = RecordBatch(TopicPartition("d", 0), 0, n, [*range(n)], [0] * n, [None] * n, [None] * n)
    batch.headers = headers
    return letters(batch, app.topology)


@given(cases=cases, cut=st.integers(0, 40), fields=st.lists(st.sampled_from([*FIELDS]), max_size=3))
def test_groups_do_not_depend_on_pages(cases, cut, fields):
    """Pages are cut anywhere."""
    whole, pages = DeadLetterTally(fields, NOW_MS), DeadLetterTally(fields, NOW_MS)
    every = found(cases)
    whole.add(every)
    pages.add(every[:cut])
    pages.add(every[cut:])
    assert pages.groups() == whole.groups()
    assert sum(group.letters for group in whole.groups()) == len(cases)


@given(cases=cases)
def test_a_group_is_counted_and_dated_exactly(cases):
    """Oldest and newest time decide what is replayed before its retention ends."""
    counted = DeadLetterTally(("error",), NOW_MS)
    counted.add(found(cases))
    groups = {group.names[0]: group for group in counted.groups()}
    assert {code: group.letters for code, group in groups.items()} == Counter(c for c, _ in cases)
    for code, group in groups.items():
        times = [at for name, at in cases if name == code]
        assert (group.oldest_ms, group.newest_ms) == (min(times), max(times))


def test_arbitrary_keys_cannot_make_it_grow(monkeypatch):
    """Producers choose keys, and so tenants: a million of them must not fill the memory."""
    monkeypatch.setattr(module, "GROUPS_MAX", 3)
    counted = DeadLetterTally(("error",), NOW_MS)
    counted.add(found([(name, 5) for name in "abcdefabc"]))
    groups = {group.names[0]: group.letters for group in counted.groups()}
    assert groups == {"a": 2, "b": 2, "c": 2, OTHERS: 3}
