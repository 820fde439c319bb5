"""Log time under an even clock, and the bounds of its error under an uneven one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.engine.state import log_time
from streams.engine.state.log_time import Expiry, LogTime, log_times
from streams.operate.audit import log_age
from streams.operate.audit.log_age import LogAge

BEGAN_MS = 1_760_000_000_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
TTL_MS = HOUR_MS
EXPIRY = Expiry.of(TTL_MS)
STEP_MS = EXPIRY.step_ms
BELIEVED = 20
small = st.integers(0, STEP_MS)
steps = st.one_of(
    small,
    st.integers(-STEP_MS, -1),
    st.sampled_from([STEP_MS + 1, -STEP_MS - 1, 2 * HOUR_MS, -2 * HOUR_MS, DAY_MS, -DAY_MS]),
)
histories = st.lists(steps, max_size=80)


@pytest.fixture(autouse=True, scope="module")
def _short_gap_confirmation():
    """Accept a gap of time within a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_time, "BELIEVED_RECORDS", BELIEVED)
        patch.setattr(log_age, "BELIEVED_AFTER", BELIEVED)
        yield


def appends_of(found) -> np.ndarray:
    return BEGAN_MS + np.cumsum(np.array([0, *found], np.int64))


def times_of(appends) -> tuple[np.ndarray, np.ndarray]:
    """Log time and horizon of each record."""
    return log_times(LogTime(), np.asarray(appends, np.int64), EXPIRY)[0]


@given(histories, st.lists(st.integers(0, 80), max_size=6))
def test_log_time_does_not_depend_on_batching(found, cuts):
    """Otherwise a verdict would depend on the batches of a fetch or on the start of a restart."""
    appends = appends_of(found)
    (at_ms, horizon_ms), end = log_times(LogTime(), appends, EXPIRY)
    state, pieces = LogTime(), []
    for piece in np.split(appends, sorted(cut for cut in cuts if cut <= len(appends))):
        times, state = log_times(state, piece, EXPIRY)
        pieces += zip(*times, strict=True)
    one, singles = LogTime(), []
    for append_ms in appends.tolist():
        one = one.after(append_ms, EXPIRY)
        singles.append((one.at_ms, one.horizon_ms(EXPIRY)))
    assert pieces == singles == [*zip(at_ms, horizon_ms, strict=True)]
    assert state == one == end


@given(histories)
def test_the_audits_log_time_is_equal(found):
    """Audit and simulation decide repeats by their own implementation: it must be the same rule."""
    appends = appends_of(found)
    at_ms, horizon_ms = times_of(appends)
    age = LogAge(TTL_MS)
    for number, append_ms in enumerate(appends.tolist()):
        age.read(append_ms)
        assert age.now == at_ms[number]
        for then in at_ms[: number + 1].tolist():
            assert age.forgets(then) == (then < horizon_ms[number])


@given(st.lists(small, max_size=80))
def test_under_an_even_clock_log_time_is_append_time(found):
    """So ids expire exactly one TTL after their append."""
    appends = appends_of(found)
    at_ms, horizon_ms = times_of(appends)
    assert at_ms.tolist() == appends.tolist()
    assert horizon_ms.tolist() == (appends - EXPIRY.kept_ms).tolist()


@given(histories.map(lambda found: [abs(step) for step in found]))
def test_without_a_backward_step_nothing_is_forgotten_within_its_ttl(found):
    """Then append times alone decide about repeats, whatever gaps there were."""
    appends = appends_of(found)
    at_ms, horizon_ms = times_of(appends)
    for number, append_ms in enumerate(appends):
        within = at_ms[: number + 1][append_ms - appends[: number + 1] <= TTL_MS]
        assert (within >= horizon_ms[number]).all()


@given(histories)
def test_log_time_and_horizon_never_go_back(found):
    """An expired id stays expired: only then may it be deleted. One record advances log time by a
    bounded step."""
    at_ms, horizon_ms = times_of(appends_of(found))
    assert ((np.diff(at_ms) >= 0) & (np.diff(at_ms) <= STEP_MS)).all()
    assert (np.diff(horizon_ms) >= 0).all()


@given(
    st.sampled_from([2 * HOUR_MS, -2 * HOUR_MS, DAY_MS, 365 * DAY_MS, -DAY_MS]),
    st.integers(1, BELIEVED - 1),
    st.lists(st.integers(0, 20_000), min_size=1, max_size=80),
)
def test_a_clock_that_is_wrong_for_some_records_expires_no_id(wrong_ms, records, found):
    """After the clock is right again, earlier ids are still remembered for their TTL."""
    before = appends_of(found)
    wrong = np.full(records, before[-1] + wrong_ms)
    after = before[-1] + np.arange(2 * BELIEVED) * 1000
    appends = np.concatenate([before, wrong, after])
    at_ms, horizon_ms = times_of(appends)
    for number in range(len(before) + records, len(appends)):
        right = np.r_[: len(before), len(before) + records : number + 1]
        within = at_ms[right][appends[number] - appends[right] <= TTL_MS]
        assert (within >= horizon_ms[number]).all()


@given(st.sampled_from([-DAY_MS, DAY_MS, -365 * DAY_MS, 365 * DAY_MS]), st.integers(0, 60))
def test_records_older_than_a_ttl_expire_despite_a_wrong_clock(jump_ms, away):
    """Otherwise one wrong hour of a broker's clock would fill memory for a day or switch expiry
    off."""
    minute_ms = 60_000
    pace = np.arange(90) * minute_ms
    there = pace[-1] + jump_ms + np.arange(away) * minute_ms
    back = pace[-1] + (1 + away + np.arange(90)) * minute_ms
    at_ms, horizon_ms = times_of(BEGAN_MS + np.concatenate([pace, there, back]))
    real = np.concatenate([pace, pace[-1] + (1 + np.arange(away)) * minute_ms, back])
    for number in range(len(real)):
        kept = real[: number + 1][at_ms[: number + 1] >= horizon_ms[number]]
        assert real[number] - kept.min() <= EXPIRY.kept_ms + 2 * STEP_MS


@given(st.lists(st.integers(0, 100 * HOUR_MS) | small, max_size=80))
def test_a_gap_is_accepted_after_a_number_of_records(found):
    """With bursts hours apart, nothing is kept that expired that many records ago."""
    appends = appends_of(found)
    at_ms, horizon_ms = times_of(appends)
    for number in range(BELIEVED, len(appends)):
        expired = appends[number - BELIEVED] - appends[: number + 1] > EXPIRY.kept_ms
        assert not (expired & (at_ms[: number + 1] >= horizon_ms[number])).any()


@given(histories)
def test_the_state_stays_small(found):
    """Every link of the changelog contains it."""
    state = LogTime()
    for append_ms in appends_of(found * 5).tolist():
        state = state.after(append_ms, EXPIRY)
        assert len(state.gaps) <= 2 * (EXPIRY.kept_ms // STEP_MS + 1)
