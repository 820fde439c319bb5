"""What changed, and when: each change once, with its name."""

from __future__ import annotations

import pytest

from streams.engine.health.finding import HealthFinding, Severity
from streams.engine.health.live_workers import LiveWorker
from streams.engine.health.rule import Health
from streams.http.console.history.changes import ObservedChanges

UP = [{"name": "kafka", "ok": True, "detail": ""}]
DOWN = [{"name": "kafka", "ok": False, "detail": "no answer in time"}]
ONE = [LiveWorker(pid=11, slot=0)]


def _health(*owners: str | None, verdict: Severity = Severity.HEALTHY) -> Health:
    findings = (
        HealthFinding(code="group_dead", severity=verdict, subject="m", detail="has no members"),
    )
    return Health(
        at_ms=0,
        verdict=verdict,
        findings=() if verdict is Severity.HEALTHY else findings,
        lag_records=0,
        degradation=None,
        partitions=tuple(
            {"group": "g", "topic": "m", "partition": number, "owner": owner}
            for number, owner in enumerate(owners)
        ),
    )


@pytest.fixture
def seen() -> ObservedChanges:
    found = ObservedChanges()
    found.take(1_000, 1.0, UP, ONE, _health("a", "a"))
    return found


def _said(seen: ObservedChanges, since_ms: int = 0) -> list[tuple[str, str, bool]]:
    return [(one.subject, one.text, one.bad) for one in seen.since(since_ms)]


def test_the_first_sample_changes_nothing(seen):
    """A console that starts must not report the whole pipeline as new."""
    seen.take(11_000, 11.0, UP, ONE, _health("a", "a"))
    assert _said(seen) == []


def test_an_outage_has_a_beginning_an_end_and_a_length(seen):
    """The answer to "what changed at 14:02" is most often one of these."""
    seen.take(11_000, 11.0, DOWN, ONE, _health("a", "a"))
    seen.take(21_000, 21.0, DOWN, ONE, _health("a", "a"))
    seen.take(46_000, 46.0, UP, ONE, _health("a", "a"))
    assert _said(seen) == [
        ("kafka", "down: no answer in time", True),
        ("kafka", "up again after 35 s", False),
    ]
    assert _said(seen, 46_000) == [("kafka", "up again after 35 s", False)]


@pytest.mark.parametrize("jump_ms", [3_600_000, -3_600_000])
def test_the_length_of_an_outage_is_not_that_of_a_corrected_wall_clock(seen, jump_ms):
    """A step of NTP during the outage would make it an hour, or none."""
    seen.take(11_000, 11.0, DOWN, ONE, _health("a", "a"))
    seen.take(46_000 + jump_ms, 46.0, UP, ONE, _health("a", "a"))
    assert _said(seen, -3_600_000)[-1] == ("kafka", "up again after 35 s", False)


def test_a_service_that_is_down_when_the_console_starts_is_named():
    """Otherwise only its end would be told."""
    seen = ObservedChanges()
    seen.take(1_000, 1.0, DOWN, [], _health())
    assert _said(seen) == [("kafka", "down: no answer in time", True)]


def test_workers_that_leave_start_and_restart_are_told_apart(seen):
    """A deploy, a crash and a scale-out look alike in lag only."""
    seen.take(11_000, 11.0, UP, [LiveWorker(pid=12, slot=0)], _health("a", "a"))
    seen.take(21_000, 21.0, UP, [LiveWorker(pid=12, slot=0), LiveWorker(pid=9, slot=1)], _health())
    seen.take(31_000, 31.0, UP, [LiveWorker(pid=9, slot=1)], _health())
    assert _said(seen) == [
        ("worker 0", "restarted: process 12 replaces 11", False),
        ("worker 1", "process 9 started", False),
        ("worker 0", "process 12 is gone", True),
    ]


def test_a_rebalance_is_one_change_of_a_topic(seen):
    """While a group rebalances its owners are unknown, which is no change yet."""
    seen.take(11_000, 11.0, UP, ONE, _health(None, None))
    seen.take(21_000, 21.0, UP, ONE, _health("b", "a"))
    assert _said(seen) == [("m", "group g: partitions 0 have another worker", False)]


def test_a_verdict_that_falls_names_its_first_finding(seen):
    """A red state without its cause would begin a search."""
    seen.take(11_000, 11.0, UP, ONE, _health("a", "a", verdict=Severity.RED))
    seen.take(21_000, 21.0, UP, ONE, _health("a", "a"))
    assert _said(seen) == [
        ("pipeline", "healthy became red: m: has no members", True),
        ("pipeline", "red became healthy", False),
    ]


def test_a_deploy_is_one_change_for_all_workers_that_it_replaced(seen):
    """Most of what breaks at 14:02 was deployed at 14:01."""
    old, new = {"0": "1.0", "1": "1.0"}, {"0": "1.1", "1": "1.1"}
    seen.take(11_000, 11.0, UP, ONE, _health("a", "a"), old)
    seen.take(21_000, 21.0, UP, ONE, _health("a", "a"), {**old, "2": "1.0"})
    seen.take(31_000, 31.0, UP, ONE, _health("a", "a"))
    assert _said(seen) == []
    seen.take(41_000, 41.0, UP, ONE, _health("a", "a"), new)
    seen.take(51_000, 51.0, UP, ONE, _health("a", "a"), {"3": "2.0"})
    assert _said(seen) == [
        ("version 1.1", "runs on workers 0, 1 in place of 1.0", False),
        ("version 2.0", "runs on worker 3", False),
    ]
    assert {one.kind for one in seen.since(0)} == {"deploy"}
