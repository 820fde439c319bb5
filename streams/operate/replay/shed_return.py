"""Restores shed records: appends copies to their partition (docs/protocols/shedding.md).

X7  start one producer for each order and partition, which fences an earlier return; the committed
    offset of the group of its name is the progress
X8  one transaction: copies of the next records, and the offset behind them, whose metadata
    ``from=N at=O`` names the step's start and the offset of its copies
X9  the range is done; records that retention deleted meanwhile are reported as lost"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from streams.connect.broker.log_range import behind, decided_end, read_some
from streams.connect.broker.opened import opened
from streams.connect.broker.torn_commit import Landing, aborted_at
from streams.core.clock import Clock
from streams.core.errors import (
    BatchUnreadable,
    CommitInDoubt,
    DiaError,
    PartitionRestart,
    RefusedBySafety,
)
from streams.core.records import headers
from streams.core.resilience.deadline import Deadline, DeadlinePassed
from streams.core.types import (
    Broker,
    CommittedOffset,
    LogReader,
    OffsetOutOfRange,
    OutboundRecord,
    RecordBatch,
    TopicPartition,
    TransactionalProducer,
)
from streams.operate.replay.run.pace import ReplayPace

STEP_TIMEOUT_S = 30.0
REMEMBERED_MS = 6 * 86_400_000
"""Brokers drop the offset of a group that is idle for seven days (offsets.retention.minutes)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShedSpan:
    """Offsets [first, until) of one partition that one order skipped at ``at_ms``."""

    order: str
    tp: TopicPartition
    first: int
    until: int
    at_ms: int

    @property
    def name(self) -> str:
        """Of its producer and of the group with its progress."""
        return f"dia-shed-{self.order}-{self.tp.topic}-{self.tp.partition}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned:
    """``at``: restored up to there. ``copied``: records of this run. ``gone``: offsets that were
    deleted or in a batch that cannot be decompressed."""

    at: int
    copied: int
    gone: int


async def returned_up_to(broker: Broker, clock: Clock, span: ShedSpan) -> int:
    """The offset below which the range is restored.

    Raises `RefusedBySafety` when that is unknown: a broker may have dropped the offset of an old
    range."""
    async with opened(broker.admin()) as admin:
        committed = (await admin.committed(span.name, [span.tp])).get(span.tp)
    if committed is not None:
        began = await _torn_from(broker, clock, span, committed)
        return committed.offset if began is None else began
    if clock.now_ms() - span.at_ms > REMEMBERED_MS:
        raise RefusedBySafety(
            f"{span.tp} was shed by order {span.order} more than {REMEMBERED_MS // 86_400_000} days "
            f"ago, and nothing tells whether that was brought back since. It is not sent again."
        )
    return span.first


async def _torn_from(
    broker: Broker, clock: Clock, span: ShedSpan, committed: CommittedOffset
) -> int | None:
    """The start of the last step, if its copies are aborted
    (streams/connect/broker/torn_commit.py). Waits for other producers' open transactions in the
    partition."""
    landing = Landing.of(committed)
    if landing is None:
        return None
    async with opened(broker.reader()) as reader:
        await decided_end(reader, span.tp, clock)
        torn = await aborted_at(reader, span.tp, landing.at) is not None
    return landing.first if torn else None


async def bring_back(
    broker: Broker, clock: Clock, span: ShedSpan, pace: ReplayPace, tell: Callable[[int], None]
) -> Returned:
    """X7 to X9; ``tell`` receives the records of each step.

    Raises `BrokerUnavailable`, `TooLarge`, `RefusedBySafety`, and `DiaError` when another run took
    over or the outcome of a step is unknown: running it again continues."""
    producer = broker.transactional_producer(span.name)
    reader = await broker.reader()
    try:
        await producer.start()
        at = await returned_up_to(broker, clock, span)
        return await _Run(span, producer, reader, clock, pace, tell).from_offset(at)
    except PartitionRestart as error:
        why = str(error) if isinstance(error, CommitInDoubt) else "another run took it over"
        raise DiaError(
            f"bringing back {span.tp} stopped: {why}. `dia shed return` goes on where it stands."
        ) from error
    finally:
        await asyncio.gather(producer.close(), reader.close())


@dataclass(frozen=True, slots=True)
class _Run:
    span: ShedSpan
    producer: TransactionalProducer
    reader: LogReader
    clock: Clock
    pace: ReplayPace
    tell: Callable[[int], None]

    async def from_offset(self, at: int) -> Returned:
        span, copied, gone = self.span, 0, 0
        while at < span.until:
            try:
                batch = await read_some(self.reader, span.tp, at, span.until, self.pace.step)
            except OffsetOutOfRange:
                begin = min(await self.reader.beginning_offset(span.tp), span.until)
                if begin <= at:
                    raise
                gone += begin - at
                at = begin
                continue
            except BatchUnreadable as error:
                until = behind(error, span.until)
                gone += until - at
                at = until
                continue
            copies = [
                _copy(span, batch, row)
                for row, offset in enumerate(batch.offsets)
                if offset < span.until
            ]
            await self.pace.take(len(copies))
            began, at = at, min(batch.end, span.until)
            await self._step(copies, began, at)
            copied += len(copies)
            self.tell(len(copies))
        return Returned(at=at, copied=copied, gone=gone)

    async def _step(self, copies: list[OutboundRecord], began: int, at: int) -> None:
        """X8."""
        deadline = Deadline(self.clock, STEP_TIMEOUT_S)
        try:
            await deadline.wait(self._transaction(copies, began, at))
        except DeadlinePassed as error:
            raise CommitInDoubt(f"a step took longer than {STEP_TIMEOUT_S:g} s") from error

    async def _transaction(self, copies: list[OutboundRecord], began: int, at: int) -> None:
        await self.producer.begin()
        mark = ""
        if copies:
            landing = await self.producer.send(copies[0])
            await (await self.producer.send_many(copies[1:]))
            mark = str(Landing(began, await landing))
        await self.producer.send_offsets({self.span.tp: CommittedOffset(at, mark)}, self.span.name)
        await self.producer.commit()


def _copy(span: ShedSpan, batch: RecordBatch, row: int) -> OutboundRecord:
    found = batch.headers[row]
    hops = headers.decimal(headers.last(found, headers.REPLAY_HOPS)) or 0
    said = [
        (headers.REPLAY_HOPS, b"%d" % (hops + 1)),
        (headers.REPLAY_SHED, f"{span.tp}/{batch.offsets[row]}".encode()),
    ]
    if (first_ms := _first_append_ms(batch, row)) is not None:
        said.append((headers.REPLAY_APPEND_TS, b"%d" % first_ms))
    kept = tuple(pair for pair in found if not pair[0].startswith(headers.REPLAY_PREFIX))
    return OutboundRecord(span.tp, batch.keys[row], batch.values[row], (*kept, *said))


def _first_append_ms(batch: RecordBatch, row: int) -> int | None:
    """None if only the producer's time of a record is known: the engine then judges the copy by the
    append time of the copy."""
    replayed_ms = headers.decimal(headers.last(batch.headers[row], headers.REPLAY_APPEND_TS))
    if replayed_ms is not None:
        return replayed_ms
    return batch.timestamps[row] if batch.append_times else None
