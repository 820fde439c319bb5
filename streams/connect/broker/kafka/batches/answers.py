"""The unread rest of a fetch answer about one partition, opened in cuts: in the caller's thread, or ahead
in another one.

To open is to check, decompress and frame record batches, and to call ``prepare``. Compiled loops and
decompressors do most of it without the interpreter's lock, so the event loop folds meanwhile."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, Final, NamedTuple

from streams.connect.broker.kafka.batches.columns import ColumnFetch
from streams.core import kernels
from streams.core.records.framed_batch import FramedBatch
from streams.core.types import Prepare, TopicPartition

CUTS_AHEAD_MAX: Final = 2
"""Cuts of one consumer that are opened and not taken. Bounds the memory."""
AHEAD_BYTES_MIN: Final = 16 << 10
"""To open fewer takes less time than to wake another thread."""


class Cut(NamedTuple):
    batch: FramedBatch
    more: bool
    """whether the answer may hold more"""


class UnreadAnswer:
    """Read by one thread at a time: either the caller's, or the one that opens ``ahead``."""

    __slots__ = (
        "_columns", "ahead", "assignment", "continued", "fetched_from", "position", "size", "tp",
    )  # fmt: skip

    def __init__(
        self,
        tp: TopicPartition,
        columns: ColumnFetch,
        assignment: Any,
        size: int,
        *,
        continued: bool,
    ) -> None:
        """``size``: in bytes, as received. ``continued``: as in `RecordBatch`, of the first batch."""
        self.tp = tp
        self.assignment = assignment
        self.size = size
        self.continued = continued
        self.position: int = columns.next_fetch_offset
        """offset of the next record to return"""
        self.fetched_from: int | None = None
        """where the client fetches on; None: it waits for the end of this answer"""
        self.ahead: Future[Cut] | None = None
        self._columns = columns

    def open(self, max_records: int, prepare: Prepare | None) -> Cut:
        """The next cut. Raises `BatchUnreadable` where it would begin with a batch that cannot be opened."""
        columns, start = self._columns, self._columns.next_fetch_offset
        batch = FramedBatch(self.tp, start, start)
        more = columns.read(batch, max_records)
        batch.end = columns.next_fetch_offset
        if prepare is not None and len(batch):
            prepare(batch)
        return Cut(batch, more)

    @property
    def size_ahead(self) -> int:
        """Records of the cut opened ahead."""
        done = self.ahead is not None and self.ahead.done() and self.ahead.exception() is None
        return len(self.ahead.result().batch) if self.ahead is not None and done else 0

    def take(self, room: int, prepare: Prepare | None) -> Cut | None:
        """The cut opened ahead, of any size, else the next one, of at most ``room`` records. None: it is not
        open yet. Raises as `open`."""
        if self.ahead is None:
            cut = self.open(room, prepare)
        elif not self.ahead.done():
            return None
        else:
            cut, self.ahead = self.ahead.result(), None
        self.position = cut.batch.end
        return cut


class OpeningThread:
    """Opens the next cuts of large answers in another thread, in the order of the answers."""

    def __init__(self, executor: Executor | None = None, bytes_min: int = AHEAD_BYTES_MIN) -> None:
        self._executor = executor or ThreadPoolExecutor(1, thread_name_prefix="open-answers")
        self._bytes_min = bytes_min

    def opens(self, answer: UnreadAnswer) -> bool:
        """Without compiled kernels opening holds the interpreter's lock, and a thread gains nothing."""
        return kernels.active is not None and answer.size >= self._bytes_min

    def begin(
        self, answers: Iterable[UnreadAnswer], max_records: int, prepare: Prepare | None
    ) -> list[Future[Cut]]:
        """What was begun. ``answers``: all that may be read now."""
        begun: list[Future[Cut]] = []
        wanted = [answer for answer in answers if self.opens(answer)]
        room = CUTS_AHEAD_MAX - sum(answer.ahead is not None for answer in wanted)
        for answer in wanted:
            if room > 0 and answer.ahead is None:
                answer.ahead = self._executor.submit(answer.open, max_records, prepare)
                begun.append(answer.ahead)
                room -= 1
        return begun

    def close(self) -> None:
        """Without waiting for the cut that is being opened."""
        self._executor.shutdown(wait=False, cancel_futures=True)
