"""The times between which a trace searches, as people write them."""

from __future__ import annotations

from typing import Final

from streams.core.errors import UsageError
from streams.core.words.moments import moment_s
from streams.operate.trace.log_scan import TimeBounds

AROUND_S: Final = 600


def trace_times(
    now_s: float, around: str | None, since: str | None, until: str | None, prefix: str = ""
) -> TimeBounds:
    """``around``: within `AROUND_S` of it. ``prefix`` stands before the names in errors. Raises
    `UsageError`."""

    def moment_ms(text: str | None, name: str) -> int | None:
        return None if not text else moment_s(text, f"{prefix}{name}", now_s) * 1000

    middle_ms = moment_ms(around, "around")
    if middle_ms is None:
        return TimeBounds(moment_ms(since, "since"), moment_ms(until, "until"))
    if since or until:
        raise UsageError(
            f"{prefix}around replaces {prefix}since and {prefix}until: give one or the other."
        )
    return TimeBounds(middle_ms - AROUND_S * 1000, middle_ms + AROUND_S * 1000)
