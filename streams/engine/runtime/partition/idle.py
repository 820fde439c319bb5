"""When a partition that gets no records still has to move its event time on.

A partition is idle once, for ``idle_close_s``, every fetch was answered, none longer ago than
`ANSWER_AGE_MAX_S`, and each found nothing to read: position = last stable offset = high
watermark. From then on its watermark is the last append time plus the time that has passed, so
that the windows of a tenant who stopped sending close like all others. Where the watermark is
later than the last append time, because the broker's clock went back, it moves on from where it is.
"""

from __future__ import annotations

from streams.core.types import Watermarks

ANSWER_AGE_MAX_S = 2.0
"""An older answer says nothing: the broker may be away and the log growing."""


def caught_up(now_s: float, position: int | None, seen: Watermarks | None) -> bool:
    """Whether the broker said just now that nothing is left to read, and nothing undecided."""
    return (
        seen is not None
        and now_s - seen.answered_at <= ANSWER_AGE_MAX_S
        and position == seen.last_stable_offset == seen.high_watermark
    )


class IdleWatch:
    """Watches one partition. All times are monotonic seconds."""

    def __init__(self, idle_close_s: float) -> None:
        self._idle_close_s = idle_close_s
        self._caught_up_at: float | None = None
        self._from_ms: int | None = None

    def observe(self, now_s: float, position: int | None, seen: Watermarks | None) -> None:
        """One look at the consumer's position and the broker's last answer."""
        if not caught_up(now_s, position, seen):
            self.reset()
        elif self._caught_up_at is None:
            self._caught_up_at = now_s

    def reset(self) -> None:
        """Records came, or the partition was paused: nothing is known about silence."""
        self._caught_up_at = self._from_ms = None

    def watermark_ms(self, now_s: float, last_append_ms: int, watermark_ms: int) -> int | None:
        """The watermark of an idle partition, whose own is ``watermark_ms``; None while it is not
        idle."""
        if self._caught_up_at is None or last_append_ms <= 0:
            return None
        if self._from_ms is None:
            self._from_ms = max(last_append_ms, watermark_ms)
        silent_s = now_s - self._caught_up_at
        return self._from_ms + int(silent_s * 1000) if silent_s >= self._idle_close_s else None
