"""Laws of the load history: what a partition says of its intake follows from the log alone."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.core.records.framed_batch import framed
from streams.core.types import RecordBatch, TopicPartition
from streams.engine.runtime.partition.load_count import LoadCount
from streams.engine.state.load_run import REST, SLOT_MS, TENANTS_MAX, LoadRun
from tests.depth import cases

TP = TopicPartition("t", 0)
_NAMES = [b"t%d" % number for number in range(TENANTS_MAX + 6)]
_RECORDS = st.lists(
    st.tuples(
        st.one_of(st.sampled_from(_NAMES), st.sampled_from([None, b"x" * 200, b"\xff"])),
        st.sampled_from([0, 0, 0, 1000, SLOT_MS // 3, SLOT_MS, -1000, -3 * SLOT_MS]),
        st.integers(0, 9),
        st.integers(1, 3),
    ),
    max_size=60,
)


def _log(steps):
    """(offset, append time, key, value) of each record; offsets have gaps."""
    offset, now_ms, found = 0, 10 * SLOT_MS, []
    for key, step_ms, size, gap in steps:
        now_ms = max(SLOT_MS, now_ms + step_ms)
        found.append((offset, now_ms, key, b"v" * size))
        offset += gap
    return found


def _batch(records):
    offsets, times, keys, values = map(list, zip(*records, strict=True))
    headers = [()] * len(records)
    return RecordBatch(TP, offsets[0], offsets[-1] + 1, offsets, times, keys, values, headers)


def _cuts(records, sizes):
    at = 0
    for size in [*sizes, len(records)]:
        if records[at : at + size]:
            yield records[at : at + size]
        at += size


def _shown(log, sizes, form, by_key=True, restarts=()):
    """Every row that commits would owe, the last one of each run."""
    count = LoadCount(True, by_key, LoadRun())
    shown = {}
    for number, part in enumerate(_cuts(log, sizes)):
        count.fold(form(_batch(part)))
        for run, to_offset in count.take_shown(part[-1][0] + 1, 0):
            shown[run.from_offset] = (run, to_offset)
        if number in restarts:  # the next owner has the link alone
            count = LoadCount(True, by_key, count.run)
    for run, to_offset in count.take_shown(log[-1][0] + 1 if log else 0, 1 << 50):
        shown[run.from_offset] = (run, to_offset)
    return [(run, to) for run, to in shown.values() if run.events]


@settings(max_examples=cases(200))
@given(_RECORDS, st.lists(st.integers(1, 20), max_size=5), st.sets(st.integers(0, 5)))
def test_rows_do_not_depend_on_batches_or_owners(steps, sizes, restarts):
    """A crash reads records again, in other batches: a row must come out the same."""
    log = _log(steps)
    whole = _shown(log, [], lambda batch: batch)
    assert _shown(log, sizes, lambda batch: batch, restarts=restarts) == whole
    assert _shown(log, sizes, framed, restarts=restarts) == whole


@settings(max_examples=cases(200))
@given(_RECORDS, st.lists(st.integers(1, 20), max_size=5))
def test_every_record_is_in_one_run(steps, sizes):
    """The forecast and the costs are wrong by what is lost or doubled here."""
    log = _log(steps)
    shown = _shown(log, sizes, framed)
    assert sum(run.events for run, _ in shown) == len(log)
    size = sum(len(key or b"") + len(value) for _, _, key, value in log)
    assert sum(total for run, _ in shown for _, total in run.tenants.values()) == size
    for run, to_offset in shown:
        inside = [one for one in log if run.from_offset <= one[0] < to_offset]
        assert len(inside) == run.events
        assert all(run.slot - 1 <= ms // SLOT_MS <= run.slot for _, ms, _, _ in inside)


@settings(max_examples=cases(200))
@given(_RECORDS)
def test_tenants_are_bounded_and_named_ones_exact(steps):
    """Producers choose tenants, and a link has a bound."""
    log = _log(steps)
    for run, to_offset in _shown(log, [], framed):
        assert len(run.tenants) <= TENANTS_MAX + 1
        events = Counter(
            key.decode(errors="replace")
            for offset, _, key, _ in log
            if run.from_offset <= offset < to_offset and key is not None and len(key) < 200
        )
        named = {name: size[0] for name, size in run.tenants.items() if name != REST and size[0]}
        # A tenant that gets its place late has its first records in the rest.
        assert all(0 < count <= events[name] for name, count in named.items())
        if len(events) <= TENANTS_MAX - 12:
            assert named == events


def test_the_largest_tenants_keep_their_places():
    """A flood of small tenants must not hide the one whose load matters."""
    crowd = [b"c%03d" % number for number in range(100)]
    first = [(n, SLOT_MS, b"big", b"vvv") for n in range(50)]
    second = [(50 + n, 2 * SLOT_MS + n, key, b"v") for n, key in enumerate([*crowd, b"big"])]
    third = [(200, 4 * SLOT_MS, b"big", b"v")]
    [_, run, _] = [run for run, _ in _shown(first + second + third, [], framed)]
    assert run.tenants["big"] == (1, 4)
    assert run.tenants[REST][0] == 100 - (TENANTS_MAX - 1)


def test_records_without_a_tenant_as_key_are_counted_together():
    """The key of `train.results` is a model."""
    log = [(0, SLOT_MS, b"m1", b"abc"), (1, SLOT_MS, None, b"d")]
    [(run, to_offset)] = _shown(log, [], lambda batch: batch, by_key=False)
    assert (run.tenants, to_offset) == ({REST: (2, 6)}, 2)
