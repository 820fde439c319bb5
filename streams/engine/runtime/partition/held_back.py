"""Measures how long an open transaction of another producer holds back a partition: consumers of
committed records stop at the last stable offset."""

from __future__ import annotations

from streams.core.types import Watermarks


class HeldBack:
    """All times are monotonic seconds."""

    def __init__(self) -> None:
        self._since_s: float | None = None
        self._at = -1

    def observe(self, now_s: float, position: int | None, seen: Watermarks | None) -> None:
        """Note the consumer's position and the broker's last answer."""
        if (
            seen is None
            or position is None
            or not position == seen.last_stable_offset < seen.high_watermark
        ):
            self._since_s = None
        elif self._since_s is None or position != self._at:
            self._since_s, self._at = now_s, position

    def seconds(self, now_s: float) -> float:
        return 0.0 if self._since_s is None else now_s - self._since_s
