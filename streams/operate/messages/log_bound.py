"""Where a search of a log begins or ends: a time or an offset."""

from __future__ import annotations

import re
from typing import NamedTuple

from streams.core.words.moments import moment_s

_OFFSET = re.compile(r"[0-9]{1,9}")
"""A whole number of more digits is a time in epoch seconds, since 2001."""


class LogBound(NamedTuple):
    """``ms``: a time in milliseconds since the epoch. Both None: the start or the end of the log."""

    ms: int | None = None
    offset: int | None = None


def log_bound(text: str | None, option: str, now_s: float) -> LogBound:
    """An offset of at most 9 digits, or a time as `moment_s` reads it. Raises `UsageError` naming
    ``option``."""
    if not text:
        return LogBound()
    if _OFFSET.fullmatch(text):
        return LogBound(offset=int(text))
    return LogBound(ms=moment_s(text, option, now_s) * 1000)
