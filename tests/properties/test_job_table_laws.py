"""The state of a job partition survives writing, restoring and rewriting unchanged."""

from __future__ import annotations

from collections import Counter
from itertools import takewhile

from hypothesis import given
from hypothesis import strategies as st

from streams.engine.state.finished_offsets import BLOCK, FinishedOffsets
from streams.engine.state.outcomes import Outcomes, Remembered

TTL_MS = 1000
VERDICTS = st.sampled_from(["applied", "duplicate", "invalid_json"])


def apply(entries, store):
    """Apply a delta as the changelog and the store do."""
    for key, value in entries:
        if value is None:
            store.pop(key, None)
        else:
            store[key] = value


OFFSETS = st.integers(0, 30) | st.integers(BLOCK - 3, BLOCK + 3) | st.integers(0, 9 * BLOCK)


@given(st.lists(st.tuples(st.booleans(), OFFSETS, VERDICTS), max_size=60))
def test_finished_offsets_are_restored_unchanged(steps):
    """After a crash exactly these are skipped: a missing offset runs twice, an extra one never
    runs."""
    table, store, model = FinishedOffsets(), {}, {}
    for commit, (add, offset, verdict) in enumerate(steps):
        if add and offset not in model:
            table.finish(offset, verdict)
            model[offset] = verdict
        elif not add:
            assert table.take([offset]) == Counter(filter(None, [model.pop(offset, None)]))
        if commit % 3 == 0:
            apply(table.delta(commit), store)
    apply(table.delta(99), store)
    assert len(store) == len({offset // BLOCK for offset in model})
    restored = FinishedOffsets()
    restored.load(store.items())
    assert len(restored) == len(table) == len(model)
    assert restored.bytes_used == table.bytes_used
    assert all(offset in restored for offset in model)
    assert restored.among(range(10 * BLOCK)) == set(model)
    assert restored.take(sorted(model)) == Counter(model.values())
    assert len(restored) == restored.bytes_used == 0


@given(
    st.sets(st.integers(0, 40) | st.integers(BLOCK - 20, BLOCK + 20), min_size=1),
    st.dictionaries(st.integers(0, 40) | st.integers(BLOCK - 20, BLOCK + 20), VERDICTS),
)
def test_the_prefix_takes_finished_offsets_up_to_the_first_that_is_not(read, finished):
    """One too many is never run; offsets that the log does not deliver do not stop the prefix."""
    read = sorted(read)
    # Only records have verdicts: those beyond what was read are of a partition that restarted.
    finished = {o: v for o, v in finished.items() if o in read or o > read[-1]}
    table = FinishedOffsets()
    for offset, verdict in finished.items():
        table.finish(offset, verdict)
    prefix = list(takewhile(finished.__contains__, read))
    assert table.take(read) == Counter(finished[offset] for offset in prefix)
    assert table.among(range(2 * BLOCK)) == finished.keys() - set(prefix)
    assert len(table) == len(finished) - len(prefix)


def test_a_commit_writes_only_the_blocks_it_changed():
    """With a hundred thousand finished requests above the prefix, a commit must not rewrite all of
    them; a block takes a few bytes of state."""
    table, store = FinishedOffsets(), {}
    for offset in range(1, 100_000, 2):
        table.finish(offset, "applied")
    apply(table.delta(1), store)
    assert sum(len(value) for value in store.values()) < 15_000
    table.finish(50_000, "duplicate")
    assert len(table.delta(2)) == 1
    assert table.delta(3) == []


def row(identity, offset, log_ms=0, body=b"x"):
    return Remembered(*identity, b"p", offset, 0, log_ms, body)


IDENTITIES = st.sampled_from([("t", "a"), ("t", "b"), ("u", "a")])


@given(
    st.lists(st.tuples(IDENTITIES, st.integers(0, 50)), max_size=40, unique=True),
    st.integers(0, 60),
    st.integers(1, 7),
)
def test_a_request_is_decided_by_the_last_outcome_before_it(rows, offset, commits):
    """In any order of completion, and before and after a restore."""
    table, store = Outcomes(TTL_MS, 1 << 30), {}
    for number, (identity, at) in enumerate(rows):
        table.remember(row(identity, at))
        if number % commits == 0:
            apply(table.delta(number), store)
    apply(table.delta(999), store)
    restored = Outcomes(TTL_MS, 1 << 30)
    restored.load(store.items())
    for identity in (("t", "a"), ("t", "b"), ("u", "a")):
        older = [at for name, at in rows if name == identity and at < offset]
        for found in (table.before(identity, offset), restored.before(identity, offset)):
            assert (found.offset if found else None) == max(older, default=None)
    assert restored.bytes_used == table.bytes_used


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=30), st.integers(0, 10**6))
def test_an_outcome_is_kept_while_a_pending_request_may_repeat_it(times, horizon_ms):
    """And then deleted: what remains is what a request may still ask for, plus one commit's worth."""
    table, store = Outcomes(TTL_MS, 1 << 30), {}
    times = sorted(times)
    for number, log_ms in enumerate(times):
        table.remember(row(("t", str(number)), number, log_ms))
        apply(table.delta(number), store)
    table.passed(horizon_ms)
    apply(table.delta(999), store)
    kept = {number for number in range(len(times)) if table.before(("t", str(number)), 99)}
    assert kept == {number for number, at in enumerate(times) if at >= horizon_ms}
    assert len(store) == len(table) == len(kept)


def test_a_repeat_needs_ttl_and_horizon():
    """By append time while the clock advances evenly, by log time where it went back."""
    table, first = Outcomes(TTL_MS, 1 << 30), Remembered("t", "a", b"p", 1, 5000, 7000, b"x")
    assert table.repeats(5000 + TTL_MS, 7000, first)
    assert not table.repeats(5001 + TTL_MS, 7000, first)
    assert table.repeats(0, 7000, first)
    assert not table.repeats(0, 7001, first)


def test_a_rewritten_entry_is_equal_at_a_newer_offset():
    """The changelog is trimmed behind it: its old content must not be lost."""
    table, store = Outcomes(TTL_MS, 1 << 30), {}
    table.remember(row(("t", "a"), 1))
    apply(table.delta(1), store)
    ((key, value),) = store.items()
    table.rewrite(key, value)
    assert table.delta(2) == [(key, value)]
    assert table.delta(3) == []


def test_large_outcomes_of_one_commit_are_cut_into_entries():
    """An entry must fit one changelog record."""
    table = Outcomes(TTL_MS, 1 << 30)
    for number in range(40):
        table.remember(row(("t", str(number)), number, body=bytes(60_000)))
    entries = table.delta(1)
    assert len(entries) > 1
    assert all(len(value) < 900 << 10 for _, value in entries)


def test_capacity_for_outcomes_is_freed_when_they_expire():
    """One tenant's large outcomes must not stop its partition: it gets at most half of the
    capacity."""
    table = Outcomes(TTL_MS, 4000)
    first = row(("t", "0"), 0)
    assert table.room("t") == table.room("other") == 2000
    table.remember(first)
    assert table.room("t") == (4000 - 2 * first.size_bytes + 1) // 2
    assert table.room("other") == (4000 - first.size_bytes + 1) // 2
    table.delta(1)
    table.passed(first.log_ms + 1)
    table.delta(2)
    assert table.room("t") == 2000
