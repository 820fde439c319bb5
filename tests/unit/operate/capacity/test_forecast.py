"""Forecasts of made-up weeks whose pattern is known, and of histories that show little."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from streams.core.command_errors import HistoryTooShort
from streams.core.errors import UsageError
from streams.dev.workload.load_shape import LoadShape, hourly
from streams.operate.capacity.forecast import DAY, WEEK, forecast, held_out_days

LAUNCH_DAY = 19


@pytest.fixture(scope="module")
def weeks():
    """28 days with an outage on day 11 and a launch on day 19."""
    return hourly(LoadShape(7).slots())


@pytest.fixture(scope="module")
def held_out(weeks):
    return held_out_days(weeks)


def test_a_day_is_forecast_better_than_by_the_same_hours_of_last_week(held_out):
    """Else the copy of a week would do, without a library."""
    assert [one.first_hour // DAY for one in held_out] == list(range(15, 28))
    errors = np.array([one.error for one in held_out])
    last_week = np.array([one.last_week for one in held_out])
    assert errors.mean() < 0.6 * last_week.mean()
    assert np.median(errors) < 0.12
    assert (errors < 0.3).all()
    assert (errors < last_week).sum() >= 11


def test_the_page_states_the_errors_of_these_days(held_out):
    """A table that is not measured again is wrong after the next change."""
    page = (Path(__file__).parents[4] / "docs" / "capacity.md").read_text()

    def stated(row):
        line = next(line for line in page.splitlines() if line.startswith(f"| {row}"))
        return [cell.strip() for cell in line.strip("|").split("|")[1:]]

    assert stated("day ") == [str(one.first_hour // DAY) for one in held_out]
    assert stated("error of the forecast") == [f"{100 * one.error:.1f}" for one in held_out]
    assert stated("error of the same hours") == [f"{100 * one.last_week:.1f}" for one in held_out]
    assert stated("hours in the band") == [
        "-" if one.inside is None else f"{100 * one.inside:.0f}" for one in held_out
    ]


def test_the_band_holds_what_it_claims_but_on_the_day_of_a_launch(held_out):
    """An autoscaler takes the top of the band for the truth. No history foresees a launch."""
    inside = {one.first_hour // DAY: one.inside for one in held_out if one.inside is not None}
    assert inside.pop(LAUNCH_DAY) < 0.9
    assert np.mean([*inside.values()]) >= 0.9


def test_the_launch_is_in_the_forecast_after_it(weeks):
    """A lasting change must not be taken for an outlier."""
    found = forecast(weeks, DAY)
    last_monday = weeks[-WEEK:][:DAY]
    assert found.seasons == "weekly"
    assert abs(found.expected.sum() / last_monday.sum() - 1) < 0.15
    assert (found.low <= found.expected).all()
    assert (found.expected <= found.high).all()


def test_an_outage_is_not_taken_for_a_pattern():
    """Its hours would lower the forecast of the same hours of every week."""
    shape = LoadShape(3, launch=None)
    sound = forecast(hourly(LoadShape(3, launch=None, outage=None).slots()), WEEK)
    struck = forecast(hourly(shape.slots()), WEEK)
    assert np.abs(struck.expected / sound.expected - 1).max() < 0.1


def test_hours_that_are_always_without_load_stay_so():
    """A load of working hours has true zeros."""
    day = np.array([0.0] * 8 + [5000.0] * 10 + [0.0] * 6)
    noise = np.exp(np.random.default_rng(5).normal(0, 0.05, 10 * DAY))
    found = forecast(np.tile(day, 10) * noise, DAY)
    assert (found.expected[:8] == 0).all()
    assert (np.abs(found.expected[8:18] / 5000 - 1) < 0.15).all()


@pytest.mark.parametrize(
    ("hours", "seasons", "days"), [(30, "none", 0), (80, "daily", 0), (200, "daily", 5)]
)
def test_a_short_history_says_what_it_shows(weeks, hours, seasons, days):
    """Days of the week cannot be known from five days."""
    found = forecast(weeks[:hours], DAY)
    assert (found.seasons, found.tested_days) == (seasons, days)
    assert len(found.expected) == DAY


def test_less_than_a_day_is_refused(weeks):
    """A number from a few hours would look like a forecast."""
    with pytest.raises(HistoryTooShort, match="has 23 whole hours"):
        forecast(weeks[:23], DAY)


def test_without_the_library_the_extra_is_named(weeks, monkeypatch):
    """The library is large, so it is an extra."""
    monkeypatch.setitem(sys.modules, "statsmodels.api", None)
    with pytest.raises(UsageError, match=r"dia-streams\[capacity\]"):
        forecast(weeks[:200], DAY)
