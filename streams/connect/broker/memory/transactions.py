"""The transaction coordinator of the in-memory broker: epochs, fencing, timeouts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from streams.connect.broker.memory.log import Log
from streams.connect.broker.memory.replicas import Replicas
from streams.core.clock import Clock
from streams.core.errors import ProducerFenced
from streams.core.types import CommittedOffset, TopicPartition


@dataclass(slots=True)
class Transaction:
    """Of one transactional id; at most one transaction is open."""

    producer_id: int
    timeout_s: float
    epoch: int = 0
    opened_at: float | None = None
    logs: dict[TopicPartition, Log] = field(default_factory=dict)
    offsets: dict[str, dict[TopicPartition, CommittedOffset]] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _Settling:
    offsets: dict[str, dict[TopicPartition, CommittedOffset]]


@dataclass(eq=False)
class TransactionCoordinator:
    """Decides which producer may write with a transactional id, and how each transaction ends."""

    _clock: Clock
    _commit_offsets: Callable[[str, Mapping[TopicPartition, CommittedOffset]], None]
    _take_extra_marker: Callable[[], bool]
    _replicas: Replicas
    _by_id: dict[str, Transaction] = field(default_factory=dict, init=False)
    _settling: list[_Settling] = field(default_factory=list, init=False)
    torn: set[tuple[str, TopicPartition]] = field(default_factory=set, init=False)
    """groups and partitions whose offset contradicts the records of its transaction"""

    def start(self, transactional_id: str, timeout_s: float) -> int:
        """Abort the previous holder's transaction and return the new holder's epoch."""
        known = self._by_id.get(transactional_id)
        if known is None:
            known = self._by_id[transactional_id] = Transaction(len(self._by_id) + 1, timeout_s)
        self._end(known, committed=False)
        known.epoch += 1
        known.timeout_s = timeout_s
        return known.epoch

    def writing(self, transactional_id: str, epoch: int) -> Transaction:
        """Begun if needed. Raises `ProducerFenced` for another epoch than the current one."""
        transaction = self._by_id[transactional_id]
        if transaction.epoch != epoch:
            raise ProducerFenced(
                f"{transactional_id}: epoch {epoch} was fenced by {transaction.epoch}"
            )
        if transaction.opened_at is None:
            transaction.opened_at = self._clock.monotonic()
        return transaction

    def commits_offset(self, group: str, tp: TopicPartition) -> bool:
        """Whether a transaction that is open or lacks its marker holds such an offset."""
        held = [t.offsets for t in self._by_id.values()] + [s.offsets for s in self._settling]
        return any(tp in offsets.get(group, ()) for offsets in held)

    def decided_offset(self, group: str, tp: TopicPartition) -> CommittedOffset | None:
        """Of a committed transaction that lacks its marker."""
        decided = (s.offsets[group].get(tp) for s in self._settling if group in s.offsets)
        return next((offset for offset in decided if offset is not None), None)

    def finishing(self, transactional_id: str) -> bool:
        """CONCURRENT_TRANSACTIONS: markers of the last transaction are pending."""
        known = self._by_id.get(transactional_id)
        return known is not None and self._replicas.finishing(known.producer_id)

    def end(self, transactional_id: str, epoch: int, *, committed: bool) -> None:
        self._end(self.writing(transactional_id, epoch), committed=committed)

    def is_mixed(self, transactional_id: str, epoch: int) -> bool:
        transaction = self.writing(transactional_id, epoch)
        return bool(transaction.logs) and bool(transaction.offsets)

    def tear(self, transactional_id: str, epoch: int, *, offsets_stand: bool) -> None:
        """Commit the offsets or the records, and abort the rest, as two coordinators that
        disagree."""
        transaction = self.writing(transactional_id, epoch)
        offsets, transaction.offsets = transaction.offsets, {}
        self._end(transaction, committed=not offsets_stand)
        for group, committed in offsets.items():
            if offsets_stand:
                self._commit_offsets(group, committed)
            self.torn |= {(group, tp) for tp in committed}

    def expire(self) -> bool:
        """Abort transactions past their timeout, which fences their producers as in Kafka."""
        now = self._clock.monotonic()
        overdue = [
            t
            for t in self._by_id.values()
            if t.opened_at is not None and t.opened_at + t.timeout_s <= now
        ]
        for transaction in overdue:
            self._end(transaction, committed=False)
            transaction.epoch += 1
        return bool(overdue)

    def next_deadline(self) -> float | None:
        """Monotonic time of the next `expire` with an effect."""
        moments = [
            t.opened_at + t.timeout_s for t in self._by_id.values() if t.opened_at is not None
        ]
        return min(moments, default=None)

    def _end(self, transaction: Transaction, *, committed: bool) -> None:
        if transaction.opened_at is None:
            return
        markers = 2 if self._take_extra_marker() else 1
        producer_id = transaction.producer_id
        writes: list[Callable[[], None]] = []
        for log in transaction.logs.values():
            if committed:
                log.decide(producer_id)
            writes.append(partial(self._mark, log, producer_id, markers, committed=committed))
        if committed and transaction.offsets:
            settling = _Settling(transaction.offsets)
            self._settling.append(settling)
            writes.append(partial(self._settle, settling))
        self._replicas.mark(producer_id, writes)
        transaction.opened_at = None
        transaction.logs = {}
        transaction.offsets = {}

    def _mark(self, log: Log, producer_id: int, markers: int, *, committed: bool) -> None:
        for _ in range(markers):
            log.end_transaction(producer_id, self._clock.now_ms(), committed=committed)

    def _settle(self, settling: _Settling) -> None:
        self._settling.remove(settling)
        for group, offsets in settling.offsets.items():
            self._commit_offsets(group, offsets)
            self.torn -= {(group, tp) for tp in offsets}
