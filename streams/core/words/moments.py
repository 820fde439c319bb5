"""Times and durations as people write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from streams.core.errors import UsageError

_SPAN = re.compile(r"(\d+)\s*(s|m|h|d|w)\Z")
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def span_s(text: str, option: str) -> int:
    """Seconds of ``90s``, ``10m``, ``6h``, ``7d`` or ``2w``. `UsageError` names ``option``."""
    match = _SPAN.match(text.strip())
    if match is None or int(match[1]) == 0:
        raise UsageError(f'Invalid {option} "{text}": use a span such as 90s, 10m, 6h or 7d.')
    return int(match[1]) * _UNIT_S[match[2]]


def moment_s(text: str, option: str, now_s: float) -> int:
    """Epoch seconds of ``now``, ``-6h`` (ago), an ISO 8601 time (default UTC), or whole seconds.
    Raises `UsageError` naming ``option``."""
    text = text.strip()
    if text == "now":
        return int(now_s)
    if text.startswith("-"):
        return int(now_s) - span_s(text[1:], option)
    if text.isdigit() and len(text) > 8:
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f'Invalid {option} "{text}": use now, -6h, or 2026-05-01T12:00 (UTC).'
        ) from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def iso_s(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
