"""Log time and horizon: the age of a partition's ids and outcomes, as a function of its log. The
rules are in docs/protocols/windows.md.

Rule of seen_events.py and outcomes.py: a record repeats the first one of its key if it was appended
at most TTL after it *and* the first is not before the record's horizon. If append times do not go
back, the first condition decides. The second bounds memory otherwise: a table holds at most
`BELIEVED_RECORDS` keys more than under an even clock. A clock that is ahead for fewer records makes
it forget nothing too early.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

BELIEVED_RECORDS = 1 << 20
"""records after which a forward step counts as silence"""
_STEP_MIN_MS = 60_000
_STEPS_PER_TTL_LOG2 = 5


class Expiry(NamedTuple):
    """The times of one TTL, in milliseconds."""

    step_ms: int
    """largest forward step that counts in full"""
    kept_ms: int
    """age at which something is forgotten"""

    @classmethod
    def of(cls, ttl_ms: int) -> Expiry:
        """At most 32 steps, and so gaps, in a TTL; a step is at least a minute."""
        step_ms = max(_STEP_MIN_MS, ttl_ms >> _STEPS_PER_TTL_LOG2)
        return cls(step_ms, ttl_ms + step_ms)


class Gap(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The part of a step that did not advance log time; negative for a backward step."""

    at_ms: int
    """log time of the record after it"""
    gap_ms: int
    record: int
    """number of the record after it"""


class LogTime(msgspec.Struct, array_like=True, frozen=True):
    at_ms: int = 0
    """log time; 0: before the first record"""
    append_ms: int = 0
    waited_ms: int = 0
    """what append time must catch up before log time advances"""
    records: int = 0
    gaps: tuple[Gap, ...] = ()
    """ascending, none older than ``kept_ms``. Of two neighbours one is positive and advanced log
    time by a step: there are at most about 70"""

    def after(self, append_ms: int, expiry: Expiry) -> LogTime:
        if not self.at_ms:
            return LogTime(append_ms, append_ms, 0, 1)
        step_ms = append_ms - self.append_ms - self.waited_ms
        at_ms, waited_ms, gaps = self.at_ms, max(0, -step_ms), self.gaps
        if waited_ms > expiry.step_ms:
            gaps, waited_ms = self._gone_back(waited_ms, expiry)
        elif step_ms > expiry.step_ms:
            at_ms += expiry.step_ms
            gaps = self._gone_forward(at_ms, step_ms - expiry.step_ms)
        elif step_ms > 0:
            at_ms += step_ms
        after = LogTime(at_ms, append_ms, waited_ms, self.records + 1, gaps)
        return _without_old_gaps(after, expiry)

    def horizon_ms(self, expiry: Expiry) -> int:
        """Log time before which everything is forgotten."""
        horizon_ms, gap_ms = self.at_ms - expiry.kept_ms, 0
        for gap in reversed(self.gaps):
            if gap.gap_ms > 0 and self._believes(gap):
                gap_ms += gap.gap_ms
                horizon_ms = max(horizon_ms, min(gap.at_ms, self.at_ms + gap_ms - expiry.kept_ms))
        return horizon_ms

    def _believes(self, gap: Gap) -> bool:
        return self.records - gap.record > BELIEVED_RECORDS

    def _gone_back(self, back_ms: int, expiry: Expiry) -> tuple[tuple[Gap, ...], int]:
        """The gaps after a backward step of more than a step, and what log time waits for."""
        left_ms, gaps = self._cancelled(-back_ms)
        if -left_ms <= expiry.step_ms:
            return gaps, -left_ms
        return self._with_gap(gaps, self.at_ms, left_ms), 0

    def _gone_forward(self, at_ms: int, gap_ms: int) -> tuple[Gap, ...]:
        left_ms, gaps = self._cancelled(gap_ms)
        return self._with_gap(gaps, at_ms, left_ms) if left_ms else gaps

    def _cancelled(self, gap_ms: int) -> tuple[int, tuple[Gap, ...]]:
        """What is left of a gap after cancelling unconfirmed gaps of the other sign, and the other
        gaps."""
        gaps = list(self.gaps)
        while gap_ms and gaps and gaps[-1].gap_ms * gap_ms < 0 and not self._believes(gaps[-1]):
            last = gaps.pop()
            if abs(last.gap_ms) > abs(gap_ms):
                gaps.append(msgspec.structs.replace(last, gap_ms=last.gap_ms + gap_ms))
                return 0, tuple(gaps)
            gap_ms += last.gap_ms
        return gap_ms, tuple(gaps)

    def _with_gap(self, gaps: tuple[Gap, ...], at_ms: int, gap_ms: int) -> tuple[Gap, ...]:
        if gap_ms < 0 and gaps and gaps[-1].gap_ms < 0:
            gap_ms, gaps = gap_ms + gaps[-1].gap_ms, gaps[:-1]
        return (*gaps, Gap(at_ms, gap_ms, self.records))


def _without_old_gaps(state: LogTime, expiry: Expiry) -> LogTime:
    """Drop gaps older than ``kept_ms``: they no longer change the horizon."""
    old_ms = state.at_ms - expiry.kept_ms
    if not state.gaps or state.gaps[0].at_ms > old_ms:
        return state
    left = tuple(gap for gap in state.gaps if gap.at_ms > old_ms)
    return msgspec.structs.replace(state, gaps=left)


class LogTimes(NamedTuple):
    """Log time and horizon of each record of a batch, in milliseconds."""

    at_ms: NDArray[np.int64]
    horizon_ms: NDArray[np.int64]


def log_times(
    before: LogTime, append_ms: NDArray[np.int64], expiry: Expiry
) -> tuple[LogTimes, LogTime]:
    """The times of a batch after ``before``, and the state after it."""
    if not len(append_ms):
        return LogTimes(append_ms, append_ms), before
    last_ms = before.append_ms if before.at_ms else int(append_ms[0])
    steps = np.diff(append_ms, prepend=last_ms)
    if before.at_ms and steps.min() >= 0 and steps.max() <= expiry.step_ms:
        return _even(before, append_ms, expiry)
    # Irregular steps are rare, or the partition gets few records.
    irregular = np.flatnonzero((steps < 0) | (steps > expiry.step_ms)).tolist()
    if len(irregular) > 1 + len(append_ms) // 16:
        irregular = list(range(len(append_ms)))
    pieces: list[LogTimes] = []
    state, start = before, 0
    for at in irregular if before.at_ms else sorted({0, *irregular}):
        if at > start:
            piece, state = _even(state, append_ms[start:at], expiry)
            pieces.append(piece)
        state, start = state.after(int(append_ms[at]), expiry), at + 1
        pieces.append(_single(state, expiry))
    if start < len(append_ms):
        piece, state = _even(state, append_ms[start:], expiry)
        pieces.append(piece)
    found = LogTimes(*(np.concatenate(columns) for columns in zip(*pieces, strict=True)))
    return found, state


def _single(state: LogTime, expiry: Expiry) -> LogTimes:
    return LogTimes(np.array([state.at_ms]), np.array([state.horizon_ms(expiry)]))


def _even(
    before: LogTime, append_ms: NDArray[np.int64], expiry: Expiry
) -> tuple[LogTimes, LogTime]:
    """The same for a batch without backward or large steps."""
    count = len(append_ms)
    behind_ms = before.append_ms + before.waited_ms
    at_ms = before.at_ms + np.maximum(0, append_ms - behind_ms)
    horizon_ms = at_ms - expiry.kept_ms
    after = LogTime(
        int(at_ms[-1]),
        int(append_ms[-1]),
        max(0, behind_ms - int(append_ms[-1])),
        before.records + count,
        before.gaps,
    )
    gap_ms = np.zeros(count, np.int64) if before.gaps else None
    for gap in reversed(before.gaps):
        # Record i of the batch has number before.records + i; see `LogTime._believes`.
        first = max(0, gap.record + BELIEVED_RECORDS - before.records)
        if gap_ms is not None and gap.gap_ms > 0 and first < count:
            gap_ms[first:] += gap.gap_ms
            older_ms = np.minimum(gap.at_ms, at_ms[first:] + gap_ms[first:] - expiry.kept_ms)
            horizon_ms[first:] = np.maximum(horizon_ms[first:], older_ms)
    return LogTimes(at_ms, horizon_ms), _without_old_gaps(after, expiry)
