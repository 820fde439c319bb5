"""What is wrong now and since when, with a runbook that exists."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.engine.health.finding import HealthFinding, Severity
from streams.http.console.history.alerts import _OF_CODE, GONE_S, StandingAlerts, runbook

RUNBOOKS = Path(__file__).parents[4] / "ops/runbooks"
T0 = 1_790_000_000_000
GONE_MS = round(GONE_S * 1000)


def _finding(code: str = "group_dead", severity: Severity = Severity.RED) -> HealthFinding:
    return HealthFinding(code=code, severity=severity, subject="t", detail="d", mend="dia worker")


def test_an_alert_keeps_the_time_at_which_it_began():
    """ "Since when?" is the second question; an outage of Kafka in between must not begin it anew."""
    alerts = StandingAlerts()
    for at_s, found in ((0.0, [_finding()]), (30.0, []), (GONE_S, [_finding()])):
        alerts.take(T0 + round(at_s * 1000), at_s, found)
    [one] = alerts.standing()
    assert one["since_ms"] == T0
    assert (one["severity"], one["next"]) == ("red", "dia worker")


def test_an_alert_that_was_over_begins_anew():
    """Else the page would say that yesterday's outage has lasted since."""
    alerts = StandingAlerts()
    alerts.take(T0, 0.0, [_finding()])
    alerts.take(T0 + 1, 0.001, [])
    assert alerts.standing() == []
    alerts.take(T0 + GONE_MS + 1, GONE_S + 0.001, [_finding()])
    assert [one["since_ms"] for one in alerts.standing()] == [T0 + GONE_MS + 1]


@pytest.mark.parametrize("jump_ms", [3_600_000, -3_600_000])
def test_a_corrected_wall_clock_neither_ends_nor_lengthens_an_alert(jump_ms):
    """Only the monotonic clock of the console tells how long a finding was absent."""
    alerts = StandingAlerts()
    alerts.take(T0, 0.0, [_finding()])
    alerts.take(T0 + jump_ms, 30.0, [_finding()])
    assert alerts.standing()[0]["since_ms"] == T0
    alerts.take(T0 + jump_ms, 31.0, [])
    alerts.take(T0 + 1, 31.0 + GONE_S, [_finding()])
    assert alerts.standing()[0]["since_ms"] == T0 + 1


@pytest.mark.parametrize("severity", [Severity.RED, Severity.UNKNOWN])
@pytest.mark.parametrize("code", ["topic_absent", *_OF_CODE])
def test_every_alert_names_a_runbook_that_exists(code, severity):
    """A name without its page is a dead end in an outage."""
    assert (RUNBOOKS / f"{runbook(_finding(code, severity))}.md").is_file()
