"""Which lists of a partition must be compared with the log before they are folded.

`check_source` (runtime/restore/source_check.py) compares, and says when a list is suspected. A suspected
list is held here until that is done; meanwhile its partition folds nothing.
"""

from __future__ import annotations

from streams.core.clock import Clock
from streams.core.types import RecordBatch
from streams.engine.runtime.restore.source_check import SILENCE_MAX_S, Appended


class SourceWatch:
    """Of one partition, from its opening on."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.held: RecordBatch | None = None
        """the list that was suspected and not compared yet"""
        self._epoch = -1
        """leader epoch of the offset folded last, -1: not known"""
        self._last_record = Appended()
        self._unsure = False
        self._opened_s: float | None = None
        """when A4 began, until the first list came"""

    def opening(self) -> None:
        """What was held belongs to a life of the partition that is over."""
        self.held, self._unsure = None, False

    def opened(self, last_offset: int, leader_epoch: int, began_s: float) -> None:
        """A4 compared the record at ``last_offset``; the opening began at ``began_s``."""
        self._epoch = leader_epoch
        self._last_record = Appended(last_offset, leader_epoch)
        self._opened_s = began_s

    def rebalanced(self) -> None:
        """The next list is compared."""
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
        """Leader epoch of the record at ``offset``, if that was the last one folded; else -1."""
        return self._last_record.epoch_at(offset)

    def compared(self) -> None:
        """The log still holds what was folded last."""
        self.held, self._unsure = None, False

    def folding(self, batch: RecordBatch) -> None:
        """The offsets of the list are passed."""
        self._epoch = batch.last_epoch

    def folded(self, batch: RecordBatch, last_offset: int) -> None:
        """Records of the list were folded, up to the one at ``last_offset``."""
        same = batch.first_epoch == batch.last_epoch
        self._last_record = Appended(last_offset, batch.last_epoch if same else -1)
