"""Reads the source log again and decides the correct result of its records.

A record may repeat one that was deleted within the dedupe TTL before it. With S the append time
below which nothing was read, records are judged from S + TTL on, windows from S + TTL + future_max
on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from streams.connect.broker.append_times import appended_ms, first_since
from streams.connect.broker.log_range import behind, read_some
from streams.core.errors import BatchUnreadable
from streams.core.types import LogReader, OffsetOutOfRange, RecordBatch, TopicPartition
from streams.operate.audit.log_age import Verdict
from streams.operate.audit.snapshot import LedgerRow, PartitionSnapshot

_ROUND_MS = 60_000
"""Checked windows begin at a full minute."""


class ReferenceModel(Protocol):
    """Decides the correct result of the records of one partition, in log order."""

    dedupe_ttl_ms: int
    slack_ms: int
    """a window that begins this long after a record's append holds no value of it or of a repeat"""

    def begin(self, epoch: int, *, fresh: bool) -> None:
        """``fresh``: no record of ``epoch`` precedes the following ones."""
        ...

    async def judge(self, batch: RecordBatch, rows: Sequence[int]) -> Sequence[Verdict]:
        """Verdicts on ``rows`` of ``batch``; the others were shed."""
        ...


@dataclass(slots=True)
class Recount:
    """One partition, all readable epochs. ``whole``: epochs read from their start; only their
    counters are compared. ``certain``: offsets [first, end) by epoch whose dead letters are
    known."""

    partition: int
    judged_from_s: int
    to_s: int
    counts: dict[int, Counter[str]] = field(default_factory=dict)
    whole: set[int] = field(default_factory=set)
    dead: set[int] = field(default_factory=set)
    certain: dict[int, tuple[int, int]] = field(default_factory=dict)
    next_offset: int = 0
    records: int = 0
    notes: list[str] = field(default_factory=list)
    keys: Counter[bytes] = field(default_factory=Counter)
    """applied records by key"""


async def recount(
    reader: LogReader,
    topic: str,
    books: PartitionSnapshot,
    opinion: ReferenceModel,
    result: Recount,
) -> None:
    """Read each epoch up to the ledger's offset into ``result``; raise its bounds to knowable
    windows."""
    tp, from_s = TopicPartition(topic, books.partition), result.judged_from_s
    for row in _same_log(books, result):
        shed = [range(s.first, s.until) for s in books.shed if s.epoch == row.epoch]
        await _Epoch(reader, tp, row, opinion, result, shed).read(books.begin_offset, from_s)
        result.next_offset = row.next_offset


def _same_log(books: PartitionSnapshot, result: Recount) -> list[LedgerRow]:
    """Epochs of the current log: a recreated topic begins its offsets again."""
    rows: list[LedgerRow] = []
    for row in books.ledger:
        if rows and row.start_offset < rows[-1].next_offset:
            result.notes.append(
                f"epochs up to {rows[-1].epoch} counted offsets that epoch {row.epoch} counts "
                f"again (topic recreated, or resumed at its start): they are not read again"
            )
            rows.clear()
        rows.append(row)
    return rows


@dataclass(eq=False)
class _Epoch:
    _reader: LogReader
    _tp: TopicPartition
    _row: LedgerRow
    _opinion: ReferenceModel
    _result: Recount
    _shed: Sequence[range]
    _certain_ms: int = field(default=0, init=False)
    _unread: bool = field(default=False, init=False)
    """the next record follows an unreadable part"""

    def __post_init__(self) -> None:
        self._counts: Counter[str] = Counter(
            {"shed": sum(map(len, self._shed))} if self._shed else {}
        )

    async def read(self, begin: int, from_s: int) -> None:
        row, result = self._row, self._result
        after_ms = from_s * 1000 - self._opinion.slack_ms
        offset, unread_ms = await self._seek(max(row.start_offset, begin), after_ms)
        whole = offset <= row.start_offset
        if whole:
            result.whole.add(row.epoch)
        else:
            self._judge_behind(unread_ms)
        self._opinion.begin(row.epoch, fresh=whole)
        if row.start_offset < begin:
            result.notes.append(
                f"offsets {row.start_offset} to {begin - 1} are gone from {self._tp}: windows "
                f"and counters that need them are not judged"
            )
        # A wrong ledger may name an offset beyond the log.
        stop = min(row.next_offset, await self._reader.last_stable_offset(self._tp))
        while (offset := self._beyond_shed(offset)) < stop:
            try:
                batch = await read_some(self._reader, self._tp, offset, stop)
            except OffsetOutOfRange:
                result.notes.append(f"{self._tp} was trimmed at offset {offset} during the audit")
                result.whole.discard(row.epoch)
                return
            except BatchUnreadable as error:
                offset = self._pass(error)
                continue
            if self._unread and len(batch):
                self._judge_behind(batch.timestamps[0])
                self._unread = False
            await self._over(batch)
            offset = batch.end
        if self._unread:
            result.judged_from_s = result.to_s
        result.counts[row.epoch] = self._counts

    def _judge_behind(self, unread_ms: int) -> None:
        self._certain_ms = unread_ms + self._opinion.dedupe_ttl_ms
        judged_s = -(-(unread_ms + self._opinion.slack_ms) // _ROUND_MS) * _ROUND_MS // 1000
        self._result.judged_from_s = max(self._result.judged_from_s, judged_s)

    def _pass(self, error: BatchUnreadable) -> int:
        """Restart behind a batch that cannot be decompressed; returns the offset there."""
        result, epoch = self._result, self._row.epoch
        until = behind(error, self._row.next_offset)
        result.notes.append(
            f"offsets {error.offset} to {until - 1} cannot be opened ({error.why}): windows, "
            f"counters and dead letters up to there are not judged"
        )
        result.whole.discard(epoch)
        result.certain.pop(epoch, None)
        self._opinion.begin(epoch, fresh=False)
        self._unread = True
        return until

    def _beyond_shed(self, offset: int) -> int:
        for skipped in self._shed:
            offset = skipped.stop if offset in skipped else offset
        return offset

    async def _over(self, batch: RecordBatch) -> None:
        row, result = self._row, self._result
        rows = [
            position
            for position, offset in enumerate(batch.offsets)
            if offset < row.next_offset and offset == self._beyond_shed(offset)
        ]
        verdicts = await self._opinion.judge(batch, rows)
        result.records += len(rows)
        self._counts.update(verdicts)
        for position, verdict in zip(rows, verdicts, strict=True):
            offset = batch.offsets[position]
            if batch.timestamps[position] >= self._certain_ms:
                first, _ = result.certain.get(row.epoch, (offset, 0))
                result.certain[row.epoch] = (first, offset + 1)
                if verdict == "dead":
                    result.dead.add(offset)
            if verdict == "applied":
                result.keys[batch.keys[position] or b""] += 1

    async def _seek(self, start: int, after_ms: int) -> tuple[int, int]:
        """The first offset from ``start`` on appended at or after ``after_ms`` (or the first
        retained one), and the time below which nothing is read."""
        high = self._row.next_offset
        end = await self._reader.last_stable_offset(self._tp)
        first_ms = await appended_ms(self._reader, self._tp, start, end)
        if first_ms is None or first_ms >= after_ms:
            return start, first_ms or 0
        return await first_since(self._reader, self._tp, start, high, after_ms), after_ms
