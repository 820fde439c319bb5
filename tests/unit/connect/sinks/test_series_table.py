"""Which table answers a series query, and which time formats are accepted."""

from __future__ import annotations

import pytest

from streams.connect.sinks.series import SeriesQuery, choose_table
from streams.core.errors import UsageError
from streams.core.words.moments import moment_s, span_s

NOW_S = 1_800_000_000
DAY_S = 86_400


def query(days_back: float, days: float, step_s: int) -> SeriesQuery:
    """A range that starts ``days_back`` days ago and lasts ``days``."""
    start = int(NOW_S - days_back * DAY_S)
    stop = int(start + days * DAY_S)
    return SeriesQuery(tenant="t", model="m", metric="k", start_s=start, stop_s=stop, step_s=step_s)


@pytest.mark.parametrize(
    ("days_back", "days", "step_s", "table"),
    [
        (0.1, 0.1, 60, "m1"),
        (1, 1, 3600, "m1"),
        (7, 7, 600, "m1"),
        (7, 7, 3600, "h1"),
        (7, 7, 5400, "m1"),
        (29, 1, 3600, "h1"),
        (100, 100, DAY_S, "d1"),
        (100, 100, 6 * 3600, "h1"),
        (500, 1, DAY_S, "d1"),
    ],
)
def test_the_finest_affordable_table_answers(
    days_back: float, days: float, step_s: int, table: str
) -> None:
    """Minutes while they exist and are few; hours and days if the step allows."""
    assert choose_table(query(days_back, days, step_s), NOW_S, 30) == table


@pytest.mark.parametrize(
    ("days_back", "days", "step_s", "says"),
    [
        (29, 1, 60, "28 days as minutes"),
        (500, 1, 3600, "400 days as hours"),
        (1, 1, 90, "whole number of minutes"),
        (1, 0, 60, "--from is not before --to"),
        (20, 20, 60, "steps are more than"),
    ],
)
def test_an_unavailable_step_is_refused(
    days_back: float, days: float, step_s: int, says: str
) -> None:
    """An empty answer would look like missing data."""
    with pytest.raises(UsageError, match=says):
        choose_table(query(days_back, days, step_s), NOW_S, 30)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("now", NOW_S),
        ("-90m", NOW_S - 5400),
        ("-2w", NOW_S - 14 * DAY_S),
        ("1700000000", 1_700_000_000),
        ("2026-05-01", 1_777_593_600),
        ("2026-05-01T12:00", 1_777_636_800),
        ("2026-05-01T12:00+02:00", 1_777_629_600),
        ("2026-05-01T12:00:00Z", 1_777_636_800),
    ],
)
def test_times_have_several_formats(text: str, moment: int) -> None:
    """Users type ages, programs send seconds, logs hold ISO times."""
    assert moment_s(text, "--from", NOW_S) == moment


@pytest.mark.parametrize("text", ["", "yesterday", "-6", "-0h", "12", "2026-13-01"])
def test_an_invalid_time_is_refused(text: str) -> None:
    """A guessed time would answer another query."""
    with pytest.raises(UsageError, match="--from"):
        moment_s(text, "--from", NOW_S)


def test_spans_have_units() -> None:
    """A bare number could be minutes or seconds."""
    assert (span_s("10m", "--step"), span_s("1d", "--step")) == (600, DAY_S)
    with pytest.raises(UsageError, match='Invalid --step "10"'):
        span_s("10", "--step")
