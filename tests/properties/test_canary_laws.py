"""A canary passes only by proof, and worse counts never help it."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from streams.engine.health.live_workers import LiveWorker
from streams.operate.canary.comparison import (
    COMMITS_MIN,
    CanaryVerdict,
    WatchedWorker,
    WorkerView,
    compare,
    worst,
)
from streams.operate.canary.worker_counts import WorkerCounts

LEAST = 1000
SIZES = st.sampled_from([0, 99, 100, 999, 1000, 5000])
BAD = st.integers(0, 40)


@st.composite
def counts(draw: st.DrawFn) -> WorkerCounts:
    rows, read, commits = draw(SIZES), draw(SIZES), draw(SIZES)
    dead = {code: min(n, read) for code in ("a", "b") if (n := draw(BAD))}
    failures = draw(BAD)
    late = min(draw(BAD), rows)
    return WorkerCounts(
        rows=rows, read=read, commits=commits, late=late, dead=dead, commit_failures=failures
    )


def watched(counted: WorkerCounts | None) -> WatchedWorker:
    """None: the metrics did not answer at the end."""
    held = [{"group": "g", "topic": "t", "partition": 0, "behind_s": 0.0}]
    worker = LiveWorker(pid=1, slot=0, ready=True, partitions=held)
    first = WorkerView(worker=worker, counts=WorkerCounts())
    return WatchedWorker(first=first, last=WorkerView(worker=worker, counts=counted))


SIDES = st.lists(st.one_of(st.none(), counts()), max_size=3)


def judged(canary, others) -> CanaryVerdict:
    return worst(compare([watched(one) for one in canary], [watched(one) for one in others], LEAST))


@given(SIDES, SIDES)
def test_a_pass_has_every_figure_measured_on_both_sides(canary, others):
    """An upgrade goes on by it."""
    if judged(canary, others) is not CanaryVerdict.PASS:
        return
    assert None not in canary
    for side in (canary, others):
        known = [one for one in side if one is not None]
        assert sum(one.rows for one in known) >= LEAST
        assert sum(one.read for one in known) >= LEAST
        assert sum(one.commits + one.commit_failures for one in known) >= COMMITS_MIN


@given(counts(), SIDES, st.sampled_from(["late", "dead", "commit_failures"]), st.integers(1, 50))
def test_more_failures_never_make_the_verdict_better(canary, others, what, more):
    """Of two versions the one that fails more must not be the one that goes on."""
    if what == "late":
        failing = replace(canary, late=min(canary.late + more, canary.rows))
    elif what == "dead":
        failing = replace(canary, dead={**canary.dead, "c": more})
    else:
        # A commit that fails is one that did not succeed.
        lost = min(more, canary.commits)
        failing = replace(
            canary, commits=canary.commits - lost, commit_failures=canary.commit_failures + lost
        )
    assert judged([failing], others) >= judged([canary], others)


@given(counts())
def test_two_equal_sides_are_not_worse(one):
    """A rule that finds fault with the same version would be switched off."""
    assert judged([one], [one]) is not CanaryVerdict.WORSE
