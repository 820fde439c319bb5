"""A held partition without progress: only a series of observations shows it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.topics.topology import DeclaredSource
from streams.core.types import GroupDescription, LogBounds, MemberDescription, TopicPartition
from streams.engine.health.finding import Severity
from streams.engine.health.monitor import CommitHistory
from streams.engine.health.observation import Observation, SourceObservation
from streams.engine.health.rule import STALL_S, judge

TP = TopicPartition("t", 0)
PLACE = ("g", TP)
OWNED = GroupDescription("g", stable=True, members=(MemberDescription("m", "", frozenset({TP})),))


def _observed(at_s, committed, end, *, known=True):
    source = SourceObservation(
        source=DeclaredSource("g", "t"),
        logs={0: LogBounds(0, end)},
        committed={0: committed} if known else None,
        group=OWNED,
    )
    return Observation(at_ms=round(at_s * 1000), sources=(source,))


def _stalls(history, observed):
    return history.stalls(observed, observed.at_ms / 1000)


def _judged(history, observed):
    return judge(replace(observed, stalls=_stalls(history, observed)))


def test_an_owner_that_never_commits_becomes_red():
    """A foreign member of the group, or a hanging worker, owns the partition and never commits."""
    history = CommitHistory()
    assert _judged(history, _observed(0, 5, 10)).verdict is Severity.HEALTHY
    assert _judged(history, _observed(STALL_S - 1, 5, 12)).verdict is Severity.HEALTHY
    health = _judged(history, _observed(STALL_S, 5, 15))
    assert [(one.code, one.severity) for one in health.findings] == [
        ("partition_stalled", Severity.RED)
    ]
    assert _judged(history, _observed(STALL_S + 10, 6, 15)).verdict is Severity.HEALTHY


def test_a_group_that_does_not_stop_rebalancing_becomes_red():
    """While members come and go, no partition has an owner and no record is read."""
    history, moving = CommitHistory(), replace(OWNED, stable=False, members=())
    for at_s, worst in ((0, Severity.WARNING), (STALL_S, Severity.RED)):
        observed = _observed(at_s, 5, 10)
        sources = (replace(observed.sources[0], group=moving),)
        assert _judged(history, replace(observed, sources=sources)).verdict is worst


def test_a_partition_without_unread_records_does_not_stall():
    """After a week without records the first new record has just begun to wait."""
    history = CommitHistory()
    assert _stalls(history, _observed(0, 5, 5)) == {PLACE: 0.0}
    assert _stalls(history, _observed(1000, 5, 5)) == {PLACE: 0.0}
    assert _stalls(history, _observed(1010, 5, 6)) == {PLACE: 10.0}


def test_a_stall_continues_through_an_unknown_period():
    """An outage of the broker proves no progress of the member."""
    history = CommitHistory()
    _stalls(history, _observed(0, 5, 10))
    assert _stalls(history, _observed(100, 5, 10, known=False)) == {}
    assert _stalls(history, _observed(200, 5, 10)) == {PLACE: 200.0}


@pytest.mark.parametrize("wall_s", [0, 3600, 7200], ids=["set back", "right", "ahead"])
def test_a_stall_is_as_long_whatever_the_wall_clock_says(wall_s):
    """A clock that was ahead at its begin hid it for as long; a step forward was a stall."""
    history = CommitHistory()
    history.stalls(_observed(3600, 5, 10), 0.0)
    assert history.stalls(_observed(wall_s, 5, 10), 400.0) == {PLACE: 400.0}


@given(st.lists(st.tuples(st.floats(0.1, 400), st.integers(0, 3), st.integers(0, 3)), max_size=20))
def test_a_stall_is_the_time_since_the_last_move_or_since_all_was_read(steps):
    """Compared with a plain log of the observations."""
    history, at_s, committed, end = CommitHistory(), 0.0, 0, 0
    moved_s = None
    for pause_s, read, produced in steps:
        at_s += pause_s
        end += produced
        before, committed = committed, min(end, committed + read)
        stalls = _stalls(history, _observed(at_s, committed, end))
        if moved_s is None or committed != before or committed == end:
            moved_s = at_s
        assert abs(stalls[PLACE] - (at_s - moved_s)) < 0.01
