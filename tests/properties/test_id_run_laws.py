"""A run of ids on disk finds exactly its rows, and raises if it cannot."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core import kernels
from streams.core.errors import StoreUnusable
from streams.core.kernels import compiled, id_filters
from streams.engine.identities import id_run, id_run_builder
from streams.engine.identities.id_filter import IdFilter, masks
from streams.engine.identities.id_rows import APPEND, HI, LO, LOG, ROW_BYTES
from streams.engine.identities.id_run import IdRun, read_index
from streams.engine.identities.id_run_builder import IdRunBuilder
from streams.engine.identities.recent_ids import RecentIds
from streams.engine.state.memory_files import MemoryFiles

NAME = "run"


def built(rows, files, step=1_000_000):
    """A run of these rows, built in steps."""
    recent = RecentIds(len(rows))
    recent.append(rows, np.arange(0), np.empty(0, np.int64))
    recent.entries[7] = 5
    builder = IdRunBuilder(recent, files, NAME)
    while (run := builder.step(step)) is None:
        assert not files.names(), "an incomplete file must not be visible"
    return run


def reopened(files):
    file = files.open(NAME)
    return IdRun(file, read_index(file))


def _ask_for_all(files, rows):
    reopened(files).find(rows, masks(rows[:, LO]))


def random_rows(count, seed=1):
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 1 << 64, (count, ROW_BYTES // 8), dtype=np.uint64)
    rows[:, APPEND] = rows[:, LOG] = np.arange(count)
    return rows


@given(
    st.lists(
        st.tuples(st.sampled_from([0, 1, 2, 2**63, 2**64 - 1]), st.integers(0, 3)), min_size=1
    ),
    st.integers(1, 5),
    st.integers(1, 5),
)
def test_a_run_equals_a_dictionary(events, block, piece):
    """Also if equal upper halves span blocks, pieces and ranges: the last row of each event counts."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (id_run, id_run_builder):
            patch.setattr(module, "ROWS_PER_BLOCK", block)
            patch.setattr(module, "BLOCK_BYTES", block * ROW_BYTES)
        patch.setattr(id_run, "_BLOCKS_AT_ONCE", 2)
        patch.setattr(id_run_builder, "_PIECE_ROWS", piece)
        patch.setattr(id_run_builder, "_RANGE_ROWS", piece)
        rows = np.array([(hi, lo, n, n, n) for n, (hi, lo) in enumerate(events)], np.uint64)
        files = MemoryFiles()
        model = {event: n for n, event in enumerate(events)}
        asked = [(hi, lo, 0, 0, 0) for hi in (0, 1, 3, 2**64 - 1) for lo in range(5)]
        needles = np.array(asked, np.uint64)
        for run in (built(rows, files, step=1), reopened(files)):
            assert len(run) == len(model)
            assert run.entries == {7: 5}
            at, found = run.find(needles, masks(needles[:, LO]))
            expected = {i: model.get((int(n[HI]), int(n[LO]))) for i, n in enumerate(needles)}
            assert dict(zip(at.tolist(), found[:, APPEND].tolist(), strict=True)) == {
                i: n for i, n in expected.items() if n is not None
            }


def test_a_run_of_a_hundred_thousand_finds_all_with_few_reads():
    """At production sizes, a fresh event must not touch the disk."""
    rows = random_rows(100_000)
    files = MemoryFiles()
    run = built(rows, files, step=20_000)
    at, found = run.find(rows, masks(rows[:, LO]))
    assert sorted(at.tolist()) == list(range(len(rows)))
    assert (found == rows[at]).all()
    fresh = random_rows(100_000, seed=2)
    reads = []
    read = run._file.read
    run._file = type("Counting", (), {"read": lambda _, *a: reads.append(a) or read(*a)})()
    at, _ = run.find(fresh, masks(fresh[:, LO]))
    assert not len(at)
    assert len(reads) < len(fresh) / 100
    assert run.bytes_used < 3 * len(rows)


@given(st.integers(0, 10**9), st.integers(0, 7))
def test_damage_raises_and_gives_no_wrong_answer(at, bit):
    """A flipped bit could otherwise make a duplicate fresh or a repeat a conflict."""
    rows, files = random_rows(300), MemoryFiles()
    built(rows, files).close()
    content = files.contents[NAME]
    content[at % len(content)] ^= 1 << bit
    with pytest.raises(StoreUnusable):
        _ask_for_all(files, rows)


INTERPRETED = SimpleNamespace(ask_filter=compiled.twin(id_filters.ask_filter))


@pytest.mark.parametrize("active", [kernels.active, INTERPRETED, None])
def test_a_filter_has_no_false_negative_and_few_false_positives(monkeypatch, active):
    """A false negative counts an event twice; a false positive costs a read. The same ones by a kernel
    and by numpy."""
    rows = random_rows(2000)
    rows = rows[np.argsort(rows[:, HI])]
    held = IdFilter.for_events(len(rows))
    for part in np.array_split(rows, 7):
        held.add(part[:, HI], masks(part[:, LO]))
    fresh = random_rows(2000, seed=2)
    bits = masks(fresh[:, LO])
    monkeypatch.setattr(kernels, "active", None)
    by_numpy = held.held(fresh, bits)
    monkeypatch.setattr(kernels, "active", active)
    assert held.held(rows, masks(rows[:, LO])).tolist() == list(range(len(rows)))
    assert 0 < len(by_numpy) < 20
    assert held.held(fresh, bits).tolist() == by_numpy.tolist()
