"""Advances the watermark of a partition without records.

A partition is idle after ``idle_close_s`` in which each fetch was answered, no answer was older
than `ANSWER_AGE_MAX_S`, and position = last stable offset = high watermark. Its watermark then
advances with the clock from the last append time, or from its present value if that is later.
"""

from __future__ import annotations

from streams.core.types import Watermarks

ANSWER_AGE_MAX_S = 2.0
"""after an older answer the log may have grown"""


def caught_up(now_s: float, position: int | None, seen: Watermarks | None) -> bool:
    """Whether a recent answer shows no record to read and no open transaction."""
    return (
        seen is not None
        and now_s - seen.answered_at <= ANSWER_AGE_MAX_S
        and position == seen.last_stable_offset == seen.high_watermark
    )


class IdleWatch:
    """All times are monotonic seconds."""

    def __init__(self, idle_close_s: float) -> None:
        self._idle_close_s = idle_close_s
        self._caught_up_at: float | None = None
        self._from_ms: int | None = None

    def observe(self, now_s: float, position: int | None, seen: Watermarks | None) -> None:
        """Note the consumer's position and the broker's last answer."""
        if not caught_up(now_s, position, seen):
            self.reset()
        elif self._caught_up_at is None:
            self._caught_up_at = now_s

    def reset(self) -> None:
        """Start over: records arrived, or the partition was paused."""
        self._caught_up_at = self._from_ms = None

    def watermark_ms(self, now_s: float, last_append_ms: int, watermark_ms: int) -> int | None:
        """The watermark of an idle partition, at least ``watermark_ms``; None if it is not idle."""
        if self._caught_up_at is None or last_append_ms <= 0:
            return None
        if self._from_ms is None:
            self._from_ms = max(last_append_ms, watermark_ms)
        silent_s = now_s - self._caught_up_at
        return self._from_ms + int(silent_s * 1000) if silent_s >= self._idle_close_s else None
