"""Selects the lists that must be compared with the log before they are folded.

runtime/restore/source_check.py says when a list is suspected. A suspected list is held here, and
its partition folds nothing, until `check_source` has compared it.
"""

from __future__ import annotations

from streams.core.clock import Clock
from streams.core.types import RecordBatch
from streams.engine.runtime.restore.source_check import SILENCE_MAX_S, Appended


class SourceWatch:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.held: RecordBatch | None = None
        """the suspected list"""
        self._epoch = -1
        """leader epoch of the last folded offset; -1: unknown"""
        self._last_record = Appended()
        self._unsure = False
        self._opened_s: float | None = None
        """start of A4; None after the first list"""

    def opening(self) -> None:
        """Forget the held list of the previous opening."""
        self.held, self._unsure = None, False

    def opened(self, last_offset: int, leader_epoch: int, began_s: float) -> None:
        """A4 compared the record at ``last_offset``; it began at ``began_s``."""
        self._epoch = leader_epoch
        self._last_record = Appended(last_offset, leader_epoch)
        self._opened_s = began_s

    def rebalanced(self) -> None:
        self._unsure = True

    def suspects(self, batch: RecordBatch) -> bool:
        """Whether the list may be of another log than the records before it; then it is held."""
        another = batch.first_epoch != self._epoch and self._epoch >= 0 <= batch.first_epoch
        opened_s, self._opened_s = self._opened_s, None
        late = opened_s is not None and self._clock.monotonic() - opened_s > SILENCE_MAX_S
        if another or late or self._unsure or not batch.continued:
            self.held = batch
        return self.held is not None

    def epoch_at(self, offset: int) -> int:
        """Leader epoch of the last folded record if that is at ``offset``; else -1."""
        return self._last_record.epoch_at(offset)

    def compared(self) -> None:
        self.held, self._unsure = None, False

    def folding(self, batch: RecordBatch) -> None:
        self._epoch = batch.last_epoch

    def folded(self, batch: RecordBatch, last_offset: int) -> None:
        same = batch.first_epoch == batch.last_epoch
        self._last_record = Appended(last_offset, batch.last_epoch if same else -1)
