"""Engines with one defect each, which prove that the simulation's checks can fail.

Each replaces a few lines of the engine by a mistake once found in such a pipeline. A test asserts
that all are caught.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from streams.connect.broker.memory.broker import MemoryBroker
from streams.connect.broker.memory.log import Log, LogEntry
from streams.connect.broker.memory.producer import MemoryTransactionalProducer, _resolved
from streams.connect.sinks.rollup_queue import RollUpQueue
from streams.core.errors import CommitInDoubt, RollUpExpired, TransientError
from streams.core.resilience import deadline
from streams.core.types import CommittedOffset, OutboundRecord, RecordBatch, TransactionalProducer
from streams.dev.simulation.broken.answers import BROKEN_ANSWERS
from streams.dev.simulation.broken.clocks import BROKEN_CLOCKS
from streams.dev.simulation.broken.loads import BROKEN_LOADS
from streams.dev.simulation.broken.replays import BROKEN_REPLAYS
from streams.dev.simulation.broken.shards import BROKEN_SHARDS
from streams.dev.simulation.broken.sheds import BROKEN_SHEDS
from streams.dev.simulation.broken.sources import BROKEN_SOURCES
from streams.dev.simulation.broken.stores import BROKEN_STORES
from streams.dev.simulation.variant import Variant, replaced
from streams.engine.identities.seen_events import SeenEvents
from streams.engine.runtime.assigned import AssignedPartition
from streams.engine.runtime.commit import commit
from streams.engine.runtime.commit.handover import Handover
from streams.engine.runtime.partition import partition as partitions
from streams.engine.runtime.partition import task_end
from streams.engine.runtime.partition.partition import Partition, Prepared
from streams.engine.runtime.partition.progress import Progress
from streams.engine.runtime.restore.restore import _Chain
from streams.engine.state.changelog import Link
from streams.engine.state.live_keys import LiveKeys
from streams.engine.state.outbox import Outbox
from streams.engine.windows.fingerprint import SECRET_BYTES, Fingerprints
from streams.engine.windows.minutes.emission import Emission
from streams.engine.windows.minutes.minute_windows import MinuteWindows

_PROCESSES = itertools.count()


async def _offsets_apart(
    partition: Partition,
    prepared: Prepared,
    producer: Any,
    sent: list[Awaitable[Any]],
) -> list[int]:
    _, *offsets = await asyncio.gather(*sent)
    committed = CommittedOffset(prepared.link.next_offset, "")
    producer._cluster.commit_offsets(partition.agent.group, {partition.tp: committed})
    await producer.commit()
    return offsets


@contextmanager
def _sends_unseen() -> Iterator[None]:
    """Answers of sends are ignored and the client commits anyway, as librdkafka's and aiokafka's
    do."""

    async def send(self: Any, record: OutboundRecord) -> Awaitable[int]:
        try:
            offset = await self._attempt("send", lambda: self._append(record))
        except CommitInDoubt:
            self._failure = None
            offset = self._cluster.log(record.tp).high_watermark
        return _resolved(offset)

    async def send_many(self: Any, records: Sequence[OutboundRecord]) -> Awaitable[None]:
        for record in records:
            await send(self, record)
        return _resolved(None)

    with (
        patch.object(MemoryTransactionalProducer, "send", send),
        patch.object(MemoryTransactionalProducer, "send_many", send_many),
    ):
        yield


async def _rows_first(self: AssignedPartition, partition: Partition) -> None:
    prepared = partition.prepare(self._handover.room())
    self._handover.committed(partition, prepared)
    await asyncio.sleep(0)
    await _commit_of(self, partition, prepared)
    self._committed_once = True


async def _rows_alive(self: AssignedPartition, partition: Partition) -> None:
    prepared = partition.prepare([0] * len(self._handover.room()))
    await _commit_of(self, partition, prepared)
    self._handover.committed(partition, prepared)
    self._handover.emit(partition, partition.take_emissions(self._handover.room()))
    self._committed_once = True


async def _store_first(self: AssignedPartition, partition: Partition) -> None:
    """C4 before C3: the parts' offsets are guessed, which is right without another producer."""
    prepared = partition.prepare(self._handover.room())
    state = partition.state
    log = self._opener.broker.log(state.changelog)  # type: ignore[attr-defined] # the memory one
    first = log.high_watermark
    entries = [entry for _, part in prepared.parts for entry in part]
    state.applied(prepared.link, first, first + len(prepared.parts), entries)
    assert self._producer is not None
    sent = await commit._send(partition, prepared, self._producer)
    await commit._commit(partition, prepared, self._producer, sent)
    self._handover.committed(partition, prepared)
    self._committed_once = True


async def _doubt_ignored(self: AssignedPartition, partition: Partition) -> None:
    prepared = partition.prepare(self._handover.room())
    try:
        await _commit_of(self, partition, prepared)
    except CommitInDoubt:
        state = partition.state
        entries = [entry for _, part in prepared.parts for entry in part]
        at = state.changelog_offset
        state.applied(prepared.link, at, at + len(prepared.parts), entries)
    self._handover.committed(partition, prepared)
    self._committed_once = True


async def _commit_of(held: AssignedPartition, partition: Partition, prepared: Prepared) -> None:
    assert held._producer is not None
    timeout_s = held._settings.commit_timeout_s
    await commit.commit(partition, prepared, held._producer, held._clock, held._metrics, timeout_s)


async def _trimmed_first(self: AssignedPartition, partition: Partition) -> None:
    """The new base offset is used before the commit that names it."""
    prepared = partition.prepare(self._handover.room())
    admin = await self._opener.broker.admin()
    await admin.delete_records({partition.state.changelog: prepared.link.base_offset})
    await _commit_of(self, partition, prepared)
    self._handover.committed(partition, prepared)
    self._committed_once = True


async def _letters_apart(
    partition: Partition, prepared: Prepared, producer: TransactionalProducer
) -> list[Awaitable[Any]]:
    """Dead letters by their own producer, without a transaction."""
    await producer.begin()
    cluster = producer._cluster  # type: ignore[attr-defined] # the memory one
    for record in prepared.records:
        entry = cluster.entry(record.tp, record.key, record.value, record.headers, None)
        cluster.log(record.tp).append(entry)
    prepared.records.clear()
    parts = [
        await producer.send(OutboundRecord(partition.state.changelog, None, data))
        for data, _ in prepared.parts
    ]
    return [_resolved(None), *parts]


@contextmanager
def _never_fenced() -> Iterator[None]:
    """Every producer has its own id, so none fences another."""
    real, turn = MemoryBroker.transactional_producer, itertools.count()

    def unfenced(self: MemoryBroker, transactional_id: str) -> MemoryTransactionalProducer:
        return real(self, f"{transactional_id}-{next(turn)}")

    with patch.object(MemoryBroker, "transactional_producer", unfenced):
        yield


@contextmanager
def _gap_unnoticed() -> Iterator[None]:
    """The chain is not checked, and some commits are missing."""
    real, turn = Log.append, itertools.count(1)

    def append(self: Log, entry: LogEntry, producer_id: int | None = None) -> int:
        if self.tp.topic.endswith(".changelog") and next(turn) % 15 == 0:
            entry.delivered = False
        return real(self, entry, producer_id)

    with (
        patch.object(Log, "append", append),
        patch.object(_Chain, "_check", lambda *_: None),
        patch.object(_Chain, "_broken", lambda *_: None),
    ):
        yield


@contextmanager
def _read_again() -> Iterator[None]:
    """A kept partition resumes at its last commit, with memory ahead of it."""
    keep, fold = AssignedPartition.keep, AssignedPartition.fold

    def kept(self: AssignedPartition) -> None:
        keep(self)
        if self.phase == "ready" and self.partition is not None:
            self._consumer.seek(self.tp, self.partition.state.link.next_offset)

    def folded(self: AssignedPartition, batch: RecordBatch) -> None:
        if self.partition is not None:
            self.partition.progress.fold_offset = batch.start
        fold(self, batch)

    with (
        patch.object(AssignedPartition, "keep", kept),
        patch.object(AssignedPartition, "fold", folded),
    ):
        yield


def _after_without(**forgotten: Any) -> Any:
    real = Progress.after

    def after(link: Link) -> Progress:
        progress = real(link)
        for name, value in forgotten.items():
            setattr(progress, name, value)
        return progress

    return staticmethod(after)


def _acknowledge_whatever(self: MinuteWindows, emission: Emission) -> None:
    c = self._columns
    slots = emission.slots[c.same(emission.slots, emission.serials)]
    c.acked[slots] = c.ver[slots]
    done = slots[c.closed[slots]]
    if len(done):
        self._evictable.append((done, c.serial[done]))


def _outbox_acknowledge_whatever(self: Outbox, key: bytes, seq: int) -> None:
    if key in self._entries:
        self._done[key] = seq


def _one_incarnation(real: Callable[..., NDArray[np.int64]]) -> Callable[..., NDArray[np.int64]]:
    def add(self: MinuteWindows, *records: Any) -> NDArray[np.int64]:
        touched = real(self, *records)
        self._columns.inc[touched] = 1
        return touched

    return add


def _nothing_loaded(self: SeenEvents, items: Iterable[tuple[bytes, bytes]]) -> None:
    del self, items


def _of_the_process(secret: bytes) -> Fingerprints:
    """The secret is generated at each opening instead of read from the chain."""
    del secret
    return Fingerprints(next(_PROCESSES).to_bytes(SECRET_BYTES, "big"))


def _base_at_end(self: LiveKeys, replaced: object, end: int) -> int:
    return end


def _unburied(self: Partition, windows: MinuteWindows) -> None:
    windows.refused_rows = []


async def _rolled_up_or_not(self: RollUpQueue, bucket: Any, waiting: list[Any]) -> bool:
    with suppress(RollUpExpired, TransientError):
        await self._shards.roll_up(*bucket)
    for _, done in waiting:
        done()
    return True


async def _cancelled_once(task: asyncio.Task[None], tp: object, clock: object) -> None:
    """The wait for the end of a revoked partition has no limit."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _cancelled_once_in_a_commit(
    task: asyncio.Future[Any], clock: object, what: object
) -> bool:
    """The wait for the end of a commit that took too long has no limit."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return True


def _not_repeated(self: Handover, partition: Partition) -> None:
    partition.outbox.take_fresh()


VARIANTS: Mapping[str, Variant] = {
    "offsets_outside_the_transaction": replaced(commit, _commit=_offsets_apart),
    "failed_sends_not_awaited": _sends_unseen,
    "rows_emitted_before_the_commit": replaced(AssignedPartition, _commit=_rows_first),
    "rows_built_from_live_objects": replaced(AssignedPartition, _commit=_rows_alive),
    "store_written_before_the_commit": replaced(AssignedPartition, _commit=_store_first),
    "commit_in_doubt_taken_as_done": replaced(AssignedPartition, _commit=_doubt_ignored),
    "trimmed_before_the_commit": replaced(AssignedPartition, _commit=_trimmed_first),
    "dead_letters_outside_the_transaction": replaced(commit, _send=_letters_apart),
    "no_fence": _never_fenced,
    "gap_in_the_chain_unnoticed": _gap_unnoticed,
    "kept_partition_reads_again": _read_again,
    "watermark_not_restored": replaced(Progress, after=_after_without(watermark_ms=0)),
    "counters_not_restored": replaced(Progress, after=_after_without(read=0, applied=0)),
    "seen_events_not_restored": replaced(SeenEvents, load=_nothing_loaded),
    "fingerprints_of_the_process": replaced(partitions, Fingerprints=_of_the_process),
    "suppressed_cancellation_waited_for": replaced(task_end, end=_cancelled_once),
    "suppressed_cancellation_of_a_commit_waited_for": replaced(
        deadline, cancel=_cancelled_once_in_a_commit
    ),
    "outbox_not_repeated": replaced(Handover, repeat=_not_repeated),
    "older_row_acknowledgement_deletes": replaced(
        MinuteWindows, acknowledged=_acknowledge_whatever
    ),
    "older_effect_acknowledgement_deletes": replaced(
        Outbox, acknowledged=_outbox_acknowledge_whatever
    ),
    "one_incarnation_for_all": replaced(
        MinuteWindows,
        _add=_one_incarnation(MinuteWindows._add),
        _add_groups=_one_incarnation(MinuteWindows._add_groups),
    ),
    "trimmed_too_far": replaced(LiveKeys, base_offset=_base_at_end),
    "refused_rows_forgotten": replaced(Partition, _bury_rows=_unburied),
    "failed_roll_up_taken_as_done": replaced(RollUpQueue, _recompute=_rolled_up_or_not),
    **BROKEN_ANSWERS,
    **BROKEN_CLOCKS,
    **BROKEN_LOADS,
    **BROKEN_REPLAYS,
    **BROKEN_SHARDS,
    **BROKEN_SHEDS,
    **BROKEN_SOURCES,
    **BROKEN_STORES,
}
"""By name, the defect."""
