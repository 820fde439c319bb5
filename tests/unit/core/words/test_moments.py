"""Times and spans as people write them, and hints for those that they write wrongly."""

from __future__ import annotations

import pytest

from streams.core.errors import UsageError
from streams.core.words.moments import moment_s, span_s

NOW_S = 1_795_910_460


@pytest.mark.parametrize(
    ("text", "expected"),
    [("now", NOW_S), ("-6h", NOW_S - 21_600), ("2026-11-29T00:01Z", NOW_S), ("1795910460", NOW_S)],
)
def test_moments_are_relative_iso_or_seconds(text, expected):
    """Users paste what another tool prints."""
    assert moment_s(text, "--from", NOW_S) == expected


def test_milliseconds_for_seconds_are_named():
    """They were taken for a time of the year 58880, and nothing was found."""
    with pytest.raises(
        UsageError, match=r"milliseconds. Write seconds, 1795910460, or 2026-11-29T"
    ):
        moment_s("1795910460123", "--from", NOW_S)


@pytest.mark.parametrize(
    ("text", "hint"), [("5000", "Write 5000s"), ("5000ms", "Write 5s"), ("abc", "6h or 7d.$")]
)
def test_a_span_without_a_unit_gets_its_spelling(text, hint):
    """The next try succeeds."""
    with pytest.raises(UsageError, match=hint):
        span_s(text, "--timeout")


@pytest.mark.parametrize(
    "text", ["²" * 9, "²h", "9" * 5000, "9" * 5000 + "s", "-" + "9" * 5000 + "s"]
)
def test_digits_that_are_no_number_are_refused_by_name(text):
    """A console answered 500: Python reads no superscripts, and no number of more than 4,300 digits."""
    for read in (moment_s, lambda text, option, _: span_s(text, option)):
        with pytest.raises(UsageError, match="Invalid --from"):
            read(text, "--from", NOW_S)


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("-999999999d", "before the year 1"),
        ("0001-01-01T00:00+14:00", "before the year 1"),
        ("9999-12-31T23:59:59-14:00", "after the year 9999"),
        ("9" * 18, "after the year 9999"),
    ],
)
def test_a_time_that_has_no_date_is_refused(text, when):
    """It cannot be shown, and a console answered 500."""
    with pytest.raises(UsageError, match=when):
        moment_s(text, "--from", NOW_S)
