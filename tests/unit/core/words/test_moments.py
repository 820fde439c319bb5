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
