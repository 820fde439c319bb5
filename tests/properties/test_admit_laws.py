"""The kernel that decides ids one by one gives the same verdicts as the column code."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streams.core import kernels
from streams.core.kernels import compiled, identities
from streams.engine.identities.id_shares import IdShares, Owners
from streams.engine.identities.seen_events import SeenEvents
from streams.engine.state.log_time import Expiry, LogTime, log_times
from streams.engine.state.memory_files import MemoryFiles
from tests.depth import cases

if kernels.active is None:
    pytest.skip("the compiled kernels are not available", allow_module_level=True)

TTL_MS = 100_000

events = st.lists(
    st.tuples(
        st.integers(0, 12),
        st.integers(0, 2),
        st.sampled_from([0, 1, 1000, 60_000, -70_000, 400_000]),
    ),
    min_size=1,
    max_size=40,
)
cuts = st.lists(st.tuples(events, st.booleans()), min_size=1, max_size=8)


LOOPS = kernels.active
INTERPRETED = SimpleNamespace(**{**vars(LOOPS), "admit": compiled.twin(identities.admit)})
"""The kernels, with `admit` replaced by its interpreted form."""


def _run(
    monkeypatch: pytest.MonkeyPatch, active: object, history: list, capacity: int, quota: int
) -> list:
    """Verdicts of all batches, and what each commit writes."""
    monkeypatch.setattr(kernels, "active", active)
    # Runs of few rows: ids are then found in growing rows, in closed runs and on disk.
    seen = SeenEvents(
        TTL_MS, MemoryFiles(), 0, max_ids=16 * capacity, hot_ids=capacity, quota=quota
    )
    now_ms, log, found = 1_700_000_000_000, LogTime(), []
    for seq, (batch, commits) in enumerate(history, start=1):
        append_ms = now_ms + np.cumsum([step for _, _, step in batch])
        now_ms = int(append_ms[-1])
        times, log = log_times(log, append_ms, Expiry.of(TTL_MS))
        # Hashes with equal upper halves, and hashes with one home slot of the table.
        hi = np.array([(event % 3) << 32 | event % 2 for event, _, _ in batch], np.uint64)
        lo = np.array([event for event, _, _ in batch], np.uint64)
        payload = np.array([said for _, said, _ in batch], np.uint64)
        owners = Owners(np.array([event % 4 for event, _, _ in batch]), ("a", "b", "c", "d"))
        verdicts = seen.admit(hi, lo, payload, append_ms, times, owners)
        found.append((verdicts.tolist(), len(seen)))
        if commits:
            found.append(seen.delta(seq))
    return found


@given(cuts, st.sampled_from([3, 20, 1000]), st.sampled_from([0, 0, 2]))
@settings(max_examples=cases(150), deadline=None)
def test_one_by_one_equals_all_at_once(history, capacity, quota):
    """Verdicts and entries depend on the log only, not on whether numba is available."""
    with pytest.MonkeyPatch.context() as patched:
        columns = _run(patched, None, history, capacity, quota)
        compiled_ones = _run(patched, LOOPS, history, capacity, quota)
        assert compiled_ones == columns


@given(cuts)
@settings(max_examples=40, deadline=None)
def test_the_interpreted_kernel_equals_the_compiled_one(history):
    """Simulations and debuggers run the interpreted form."""
    with pytest.MonkeyPatch.context() as patched:
        assert _run(patched, INTERPRETED, history, 20, 0) == _run(patched, None, history, 20, 0)


@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=4),
    st.integers(0, 200),
    st.lists(st.integers(0, 40), min_size=1, max_size=4),
    st.integers(1, 400),
)
@example([60], 0, [33], 100)
@settings(max_examples=cases(300), deadline=None)
def test_a_bound_that_suffices_for_all_refuses_no_tenant(held, alive, wanted, bound):
    """Tenants' shares are counted for longer than ids live, so the count of one may exceed its live
    ids."""
    shares = IdShares(TTL_MS, 10_000, 0)
    names = ("a", "b", "c", "d")
    codes = np.repeat(np.arange(len(held)), held)
    assert shares.take(np.arange(len(codes)), Owners(codes, names), 0, 0) is None
    shares._shares.bound = bound
    codes = np.repeat(np.arange(len(wanted)), wanted)
    if shares.suffice(len(codes), alive):
        assert shares.take(np.arange(len(codes)), Owners(codes, names), alive, 0) is None
