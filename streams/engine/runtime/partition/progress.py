"""Offsets, counters and event time of a partition up to the fold offset."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.core.errors import AgentFailed, is_code
from streams.core.records.bad_records import DEAD_LETTER_CODES
from streams.core.types import RecordBatch
from streams.engine.runtime.offsets.shed_order import ShedOrder
from streams.engine.state.changelog import Counters, Link
from streams.engine.state.log_time import Expiry, LogTime, LogTimes, log_times

CODES_MAX: Final = 100
"""codes of dead letters above which a partition counts no app's code apart: each is in all links and a
metric label"""
_DAY_MS = 86_400_000


@dataclass(slots=True)
class Progress:
    """Its counters and offsets enter the next `Link`."""

    fold_offset: int
    last_offset: int
    last_append_ms: int
    watermark_ms: int
    read: int
    applied: int
    duplicates: int
    gaps: int
    dead_by_code: Counter[str]
    shed: int
    log_time: LogTime
    last_day: int
    """last UTC day, since 1970, of which an event was folded"""
    _refused: list[int] = field(default_factory=list)
    """the row of each dead letter of the batch in progress"""

    @property
    def folded(self) -> tuple[int, int]:
        """The last day of which an event was folded, and the offset behind the folded records."""
        return self.last_day, self.fold_offset

    @classmethod
    def after(cls, link: Link) -> Progress:
        counters = link.counters
        return cls(
            fold_offset=link.next_offset,
            last_offset=link.last_offset,
            last_append_ms=link.last_append_ms,
            watermark_ms=link.watermark_ms,
            read=counters.read,
            applied=counters.applied,
            duplicates=counters.duplicates,
            gaps=counters.gaps,
            dead_by_code=Counter(counters.dead_by_code),
            shed=counters.shed,
            log_time=link.log_time,
            last_day=link.last_day,
        )

    @property
    def counted(self) -> int:
        """Records that were read and decided."""
        return self.applied + self.duplicates + self.dead_by_code.total()

    def refused(self, row: int, code: str) -> None:
        """Count the dead letter of a row of the batch in progress."""
        self.dead_by_code[code] += 1
        self._refused.append(row)

    def check_counted(self, before: int, events: int, agent: str, batch: RecordBatch) -> None:
        """After an agent folded this number of events. Raises `AgentFailed`."""
        count, again = self.counted - before, len(self._refused) - len(set(self._refused))
        if count != events or again:
            twice = f", {again} of them by another dead letter of a record" if again else ""
            raise AgentFailed(
                f"agent {agent} counted {count} of the {events} events of {batch.tp} at offsets "
                f"{batch.start} to {batch.end - 1}{twice}. Count each once, by scope.count or "
                "scope.dead_letter, and restart the worker."
            )

    def counters(self) -> Counters:
        return Counters(
            read=self.read,
            applied=self.applied,
            duplicates=self.duplicates,
            dead=self.dead_by_code.total(),
            gaps=self.gaps,
            dead_by_code=dict(self.dead_by_code),
            shed=self.shed,
        )

    def told_apart(self, code: str, message: str) -> tuple[str, str]:
        """Both as a dead letter shows them: a code that is no label, or one too many, becomes
        `agent_failed`, and its message names it."""
        if code in self.dead_by_code or code in DEAD_LETTER_CODES:
            return code, message
        if is_code(code) and len(self.dead_by_code) < CODES_MAX:
            return code, message
        why = f"one code more than {CODES_MAX}" if is_code(code) else "no code"
        return AgentFailed.code, f"{code!r:.80}, which is {why}: {message}"

    def log_times(self, append_ms: NDArray[np.int64], expiry: Expiry) -> LogTimes:
        """Log times of each record of the next batch, bad ones included; advances the log time."""
        times, self.log_time = log_times(self.log_time, append_ms, expiry)
        return times

    def passed(self, batch: RecordBatch) -> None:
        self._refused.clear()
        self.read += len(batch)
        self.gaps += batch.end - batch.start - len(batch)
        self.fold_offset = batch.end
        if len(batch):
            self.last_offset, self.last_append_ms = batch.last()

    def skipped(self, order: ShedOrder) -> None:
        """X4: advance to ``order.until`` without reading."""
        count = order.until - self.fold_offset
        self.read += count
        self.shed += count
        if order.last_offset >= self.fold_offset:
            self.last_offset = order.last_offset
            self.last_append_ms = order.last_append_ms
        self.fold_offset = order.until

    def observe(self, event_ms: NDArray[np.int64], append_ms: NDArray[np.int64]) -> None:
        """Raise the watermark, the maximum of min(event time, append time), and the last day.

        A future event time counts as its append time, so a producer with a wrong clock cannot close
        the windows of others.
        """
        if len(event_ms):
            latest = int(np.minimum(event_ms, append_ms).max())
            self.watermark_ms = max(self.watermark_ms, latest)
            self.last_day = max(self.last_day, int(event_ms.max()) // _DAY_MS)
