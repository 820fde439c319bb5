"""Each figure of a canary is judged by its stated rule, and what was not measured is not a pass."""

from __future__ import annotations

from dataclasses import replace

import pytest

from streams.engine.health.live_workers import SILENT_MAX_S, LiveWorker
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
BEFORE = WorkerCounts(version="1", started_s=5.0, read=10, rows=10, commits=10)
DURING = WorkerCounts(
    version="1",
    started_s=5.0,
    read=10_010,
    rows=10_010,
    late=10,
    commits=610,
    dead={"bad_json": 10},
)


def view(counts: WorkerCounts | None = DURING, *, held=(0,), **fields) -> WorkerView:
    partitions = [
        {
            "group": "g",
            "topic": "t",
            "partition": number,
            "stopped_by": fields.pop("stopped_by", None),
            "behind_s": fields.pop("behind_s", 1.0),
        }
        for number in held
    ]
    worker = LiveWorker(**{"pid": 1, "slot": "c/0", "ready": True, **fields}, partitions=partitions)
    return WorkerView(worker=worker, counts=counts)


def pair(last: WorkerView | None = None, *, first: WorkerView | None = None) -> WatchedWorker:
    return WatchedWorker(first=first or view(BEFORE), last=last or view())


OTHERS = [pair(), pair()]


def verdicts(canary, others=None, least=LEAST):
    figures = compare(canary, OTHERS if others is None else others, least)
    return {one.name: one.verdict for one in figures}


def test_a_canary_like_the_others_passes_every_figure():
    """Else no upgrade ever goes on."""
    assert set(verdicts([pair()]).values()) == {CanaryVerdict.PASS}


@pytest.mark.parametrize(
    ("figure", "changed"),
    [
        ("freshness", {"late": 41}),
        ("dead_letters", {"dead": {"bad_json": 41}}),
        ("dead_letters", {"dead": {"bad_json": 10, "unknown_table": 1}}),
        ("commit_failures", {"commit_failures": 10}),
    ],
)
def test_one_figure_beyond_its_rule_is_worse_and_the_others_pass(figure, changed):
    """Others: 0.1 % late and dead, no failed commit. Twice that and 0.1 % is 30 of 10,000."""
    found = verdicts([pair(view(replace(DURING, **changed)))])
    assert found.pop(figure) is CanaryVerdict.WORSE
    assert set(found.values()) == {CanaryVerdict.PASS}


@pytest.mark.parametrize(
    "changed", [{"late": 30}, {"dead": {"bad_json": 30}}, {"commit_failures": 6}]
)
def test_a_figure_at_its_limit_passes(changed):
    """Tenants differ from partition to partition; the rule says by how much they may."""
    found = verdicts([pair(view(replace(DURING, **changed)))])
    assert set(found.values()) == {CanaryVerdict.PASS}


@pytest.mark.parametrize(
    ("figure", "ends"),
    [
        ("stopped", {"last": view(stopped_by="changelog_gap")}),
        ("stopped", {"first": view(BEFORE, stopped_by="changelog_gap")}),
        ("workers", {"last": view(pid=2)}),
        ("workers", {"last": view(replace(DURING, started_s=6.0))}),
        ("workers", {"last": view(ready=False)}),
        ("workers", {"last": view(silent_s=SILENT_MAX_S + 1)}),
    ],
)
def test_a_canary_that_stops_or_starts_anew_is_worse(figure, ends):
    """Pods have pid 1 always, so the start time tells a second process from the first."""
    assert verdicts([pair(**ends)])[figure] is CanaryVerdict.WORSE


@pytest.mark.parametrize(
    ("behind_s", "verdict"),
    [(12.0, CanaryVerdict.PASS), (13.0, CanaryVerdict.WORSE), (None, CanaryVerdict.UNKNOWN)],
)
def test_a_canary_that_falls_behind_is_worse(behind_s, verdict):
    """A partition of two that stood still passed: its rows never came out, so none of them was late."""
    held = view(held=(0, 1), behind_s=behind_s)  # of the first one
    found = verdicts([pair(held, first=view(BEFORE, held=(0, 1)))])
    assert found.pop("behind") is verdict
    assert set(found.values()) == {CanaryVerdict.PASS}


def test_a_worker_of_the_canary_that_is_gone_is_worse():
    """A version that cannot stay up gives no figures at all."""
    gone = WatchedWorker(first=view(BEFORE), last=None)
    assert worst(compare([gone], OTHERS, LEAST)) is CanaryVerdict.WORSE


@pytest.mark.parametrize(
    ("figure", "changed"),
    [
        ("freshness", {"rows": 10 + LEAST - 1}),
        ("dead_letters", {"read": 10 + LEAST - 1}),
        ("commit_failures", {"commits": 10 + COMMITS_MIN - 1}),
    ],
)
@pytest.mark.parametrize("of_canary", [True, False])
def test_too_little_on_either_side_is_unknown(figure, changed, of_canary):
    """A canary without traffic has no bad record either."""
    few = [pair(view(replace(DURING, late=0, dead={}, **changed)))]
    found = (
        verdicts(few)
        if of_canary
        else verdicts([pair(view(replace(DURING, late=0, dead={})))], few)
    )
    assert found.pop(figure) is CanaryVerdict.UNKNOWN
    assert set(found.values()) == {CanaryVerdict.PASS}


@pytest.mark.parametrize(
    ("canary", "others"),
    [
        ([], OTHERS),
        ([pair()], []),
        ([pair(view(None))], OTHERS),
        ([pair(view(held=(0, 1)))], OTHERS),
        ([pair()], [WatchedWorker(first=view(BEFORE), last=None)]),
        ([pair()], [pair(view(pid=2))]),
    ],
)
def test_sides_that_cannot_be_compared_are_unknown(canary, others):
    """No canary, no others, no metrics, partitions that moved, others that are gone or started anew."""
    assert verdicts(canary, others)["workers"] is CanaryVerdict.UNKNOWN
    assert worst(compare(canary, others, LEAST)) is CanaryVerdict.UNKNOWN


def test_no_figure_at_all_is_unknown():
    """A check that compared nothing must not let an upgrade go on."""
    assert worst([]) is CanaryVerdict.UNKNOWN
