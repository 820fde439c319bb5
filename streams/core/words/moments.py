"""Times and durations as people write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from streams.core.errors import UsageError

_SPAN = re.compile(r"(\d{1,9})\s*(s|m|h|d|w)\Z")
_MILLISECONDS = re.compile(r"(\d{1,15})\s*ms\Z")
_SECONDS_DIGITS = 11
"""up to the year 5138; milliseconds of any time since 1973 have 12 digits or more"""
_FIRST_S, _LAST_S = -62_135_596_800, 253_402_300_799
"""of the years 1 and 9999"""
_DIGITS = re.compile(r"\d{1,18}\Z")
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def span_s(text: str, option: str) -> int:
    """Seconds of ``90s``, ``10m``, ``6h``, ``7d`` or ``2w``. `UsageError` names ``option``."""
    match = _SPAN.match(text.strip())
    if match is None or int(match[1]) == 0:
        raise UsageError(
            f'Invalid {option} "{text}": use a span such as 90s, 10m, 6h or 7d.{_meant(text.strip())}'
        )
    return int(match[1]) * _UNIT_S[match[2]]


def _meant(text: str) -> str:
    """A hint for a number without a unit, or of milliseconds."""
    if _DIGITS.match(text) and int(text):
        return f" Write {text}s for seconds."
    if (found := _MILLISECONDS.match(text)) is not None and int(found[1]) >= 1000:
        return f" Write {int(found[1]) // 1000}s."
    return ""


def moment_s(text: str, option: str, now_s: float) -> int:
    """Epoch seconds of ``now``, ``-6h`` (ago), an ISO 8601 time (default UTC), or whole seconds, in the
    years 1 to 9999. Raises `UsageError` naming ``option``."""
    text = text.strip()
    moment = _moment_s(text, option, now_s)
    if not _FIRST_S <= moment <= _LAST_S:
        raise UsageError(
            f'Invalid {option} "{text}": this is {"after the year 9999" if moment > 0 else "before the year 1"}.'
        )
    return moment


def _moment_s(text: str, option: str, now_s: float) -> int:
    if text == "now":
        return int(now_s)
    if text.startswith("-"):
        return int(now_s) - span_s(text[1:], option)
    if _DIGITS.match(text) and len(text) > 8:
        if int(text) // 1000 > _LAST_S or len(text) <= _SECONDS_DIGITS:
            return int(text)
        raise UsageError(
            f'Invalid {option} "{text}": these look like milliseconds. Write seconds, '
            f"{int(text) // 1000}, or {iso_s(int(text) // 1000)}."
        )
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f'Invalid {option} "{text}": use now, -6h, or 2026-05-01T12:00 (UTC).'
        ) from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def iso_s(at_s: float) -> str:
    """With milliseconds where it is no whole second."""
    at_ms = round(at_s * 1000)
    fraction = f".{at_ms % 1000:03d}" if at_ms % 1000 else ""
    moment = datetime.fromtimestamp(at_ms // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}Z"
