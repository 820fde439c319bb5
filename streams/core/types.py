"""Shared types, and the protocols of the outside world. Each has an in-memory implementation that
passes the contract suite of the real one (tests/contract)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Final, NamedTuple, Protocol, TypeAlias, TypeVar

import msgspec

from streams.core.derived_files import Files

Headers: TypeAlias = tuple[tuple[str, bytes], ...]
_T = TypeVar("_T")


class TopicPartition(NamedTuple):
    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}"


@dataclass(slots=True)
class RecordBatch:
    """Consecutive records of one partition, as columns of equal length (possibly zero).

    ``start`` and ``end`` are the consumer's position before and after the call: ``end`` may lie
    past the last record, behind control markers or aborted records. ``timestamps`` are milliseconds
    since the epoch: append times if ``append_times``, else the producer's; a batch never mixes the
    two. ``first_epoch`` and ``last_epoch`` are the leader epochs of the first and last offset
    passed, -1 if unknown. ``continued`` False: since the last batch the broker refused or did not
    answer for a while, so the log may have been replaced."""

    tp: TopicPartition
    start: int
    end: int
    offsets: list[int] = field(default_factory=list)
    timestamps: list[int] = field(default_factory=list)
    keys: list[bytes | None] = field(default_factory=list)
    values: list[bytes | None] = field(default_factory=list)
    headers: list[Headers] = field(default_factory=list)
    append_times: bool = True
    first_epoch: int = -1
    last_epoch: int = -1
    continued: bool = True

    def __len__(self) -> int:
        return len(self.offsets)

    def head(self, count: int) -> RecordBatch:
        """Up to the offset of the next record."""
        if count == len(self):
            return self
        return self._chosen(range(count), self.offsets[count])

    def take(self, rows: Sequence[int]) -> RecordBatch:
        """By index, with the same ``start`` and ``end``."""
        return self._chosen(rows, self.end)

    def _chosen(self, rows: Sequence[int], end: int) -> RecordBatch:
        offsets, timestamps = _at(self.offsets, rows), _at(self.timestamps, rows)
        keys, values, found = _at(self.keys, rows), _at(self.values, rows), _at(self.headers, rows)
        chosen = RecordBatch(self.tp, self.start, end, offsets, timestamps, keys, values, found)
        chosen.append_times, chosen.continued = self.append_times, self.continued
        chosen.first_epoch = self.first_epoch
        return chosen

    def to_lists(self) -> None:
        """Convert the columns, once, for access record by record."""

    def last(self) -> tuple[int, int]:
        return self.offsets[-1], self.timestamps[-1]

    def any_headers(self) -> bool:
        return any(self.headers)

    def rows_with_headers(self) -> Iterable[int]:
        """Ascending indexes; the others are skipped at C speed."""
        return compress(range(len(self.headers)), self.headers)


def _at(column: list[_T], rows: Sequence[int]) -> list[_T]:
    """Of a batch without this column: nothing."""
    return [column[row] for row in rows] if column else []


class Watermarks(NamedTuple):
    """The broker's last answer about a partition, and its time (monotonic seconds)."""

    last_stable_offset: int
    high_watermark: int
    answered_at: float


class LogBounds(NamedTuple):
    """``begin`` is the first kept offset, ``stable_end`` the last stable offset."""

    begin: int
    stable_end: int


class CommittedOffset(NamedTuple):
    offset: int
    metadata: str


class OutboundRecord(msgspec.Struct, frozen=True, gc=False):
    """A record for an explicit ``partition``, inside a transaction."""

    tp: TopicPartition
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    timestamp_ms: int | None = None


class RebalanceListener(Protocol):
    """Both calls must return well within the session timeout."""

    async def on_revoked(self, partitions: frozenset[TopicPartition]) -> None: ...

    async def on_assigned(self, partitions: frozenset[TopicPartition]) -> None: ...


class GroupConsumer(Protocol):
    """A member of a consumer group; read_committed; never resets an offset by itself.

    After an assignment every partition is unpaused and without a position: it yields nothing until
    `seek`. Calls for unassigned partitions have no effect. Calls that reach the broker raise
    `BrokerUnavailable`, never the client's own exceptions."""

    async def start(self, listener: RebalanceListener) -> None:
        """Returns once the listener has the first assignment. Raises `UnknownTopic`."""
        ...

    async def stop(self, *, leave: bool = False) -> None:
        """A static member stays in the group until its session times out, unless it is to ``leave``: then
        others get its partitions at once."""
        ...

    def assignment(self) -> frozenset[TopicPartition]: ...

    async def getmany(
        self, timeout_s: float, max_records: int
    ) -> dict[TopicPartition, RecordBatch]:
        """One batch per partition that moved, waiting at most ``timeout_s`` for the first;
        ``max_records`` over all partitions. While the broker is unavailable the result is empty and
        `watermarks` age.

        Raises `OffsetOutOfRange`, once per seek, for a position outside the log, and
        `BatchUnreadable` for a batch that cannot be opened: that partition yields nothing until the
        next `seek`. A call that raises has read nothing, so no record is lost. Raises
        `MembershipConflict` after two evictions within a session timeout, and `BrokerUnavailable`
        when the group coordinator refuses this member: if that persists, replace this consumer."""
        ...

    def seek(self, tp: TopicPartition, offset: int) -> None: ...

    def pause(self, *partitions: TopicPartition) -> None: ...

    def resume(self, *partitions: TopicPartition) -> None: ...

    def watermarks(self, tp: TopicPartition) -> Watermarks | None:
        """None before the first answered fetch of this partition."""
        ...

    def partitions(self, topic: str) -> int:
        """Cached; 0 for an unknown topic."""
        ...

    def position(self, tp: TopicPartition) -> int | None:
        """Of the next record to return; None when not assigned."""
        ...


class LogReader(Protocol):
    """Reads partitions without a group, read_committed except for `read_all`.

    A read may return less than requested and does not show the end of the log;
    `streams.connect.broker.log_range` reads to a known end. Raises `BrokerUnavailable`, and
    `UnknownTopic` for a missing partition."""

    async def beginning_offset(self, tp: TopicPartition) -> int: ...

    async def last_stable_offset(self, tp: TopicPartition) -> int: ...

    async def bounds(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, LogBounds]:
        """In few requests. Every start is read before any end."""
        ...

    async def high_watermark(self, tp: TopicPartition) -> int:
        """One past the last record, open transactions included."""
        ...

    async def read(self, tp: TopicPartition, offset: int, max_records: int = 5000) -> RecordBatch:
        """Empty with ``end == offset`` only where ``offset`` was at or behind the last stable
        offset of the same answer, which a stale leader may report too low. Other empty answers are
        retried until `BrokerUnavailable`. Raises `OffsetOutOfRange`, and `BatchUnreadable` when no
        record precedes a batch that cannot be opened."""
        ...

    async def read_all(
        self, tp: TopicPartition, offset: int, max_records: int = 5000
    ) -> RecordBatch:
        """As `read`, up to the high watermark, including records of aborted and open
        transactions."""
        ...

    async def search(
        self, tp: TopicPartition, offset: int, needles: Sequence[bytes]
    ) -> RecordBatch:
        """The records from ``offset`` on whose key, value or a header's value contains one of
        ``needles`` (without one: every record), as far as one answer of the leader goes.

        ``end`` lies behind all that was searched. Ends and raises as `read`; several searches may
        run at once.
        """
        ...

    async def offsets_since(
        self, partitions: Iterable[TopicPartition], ms: int
    ) -> dict[TopicPartition, int]:
        """For each partition the lowest offset whose timestamp is at least ``ms`` (milliseconds
        since the epoch), markers included; the last stable offset where none is below it."""
        ...

    async def close(self) -> None: ...


class OffsetOutOfRange(Exception):  # noqa: N818 - a signal between reader and restore, not an error
    """Control flow of A2-A4, never shown to a user."""

    def __init__(self, tp: TopicPartition, offset: int) -> None:
        super().__init__(f"offset {offset} is not in the log of {tp}")
        self.tp = tp
        self.offset = offset


class TransactionalProducer(Protocol):
    """The only writer of a partition's state. Starting another one fences this one.

    Every call raises `ProducerFenced` once fenced and `CommitInDoubt` when its result is unknown or
    refused; after either only `close` is allowed. A transaction with a failed send cannot be
    committed."""

    async def start(self) -> None:
        """A1: fence the previous holder of the id and abort its transaction. Raises
        `BrokerUnavailable` when the coordinator does not answer in time."""
        ...

    async def begin(self) -> None:
        """`CommitInDoubt` when a transaction is open."""
        ...

    async def send(self, record: OutboundRecord) -> Awaitable[int]:
        """The returned awaitable gives the record's offset, or raises."""
        ...

    async def send_many(self, records: Sequence[OutboundRecord]) -> Awaitable[None]:
        """In order within a partition. The awaitable resolves once every record has an offset, or
        raises the first failure."""
        ...

    async def send_offsets(
        self, offsets: Mapping[TopicPartition, CommittedOffset], group: str
    ) -> None: ...

    def partitions(self, topic: str) -> int:
        """Cached; 0 for an unknown topic, such as one that it did not send to."""
        ...

    async def commit(self) -> None: ...

    async def abort(self) -> None: ...

    async def close(self) -> None:
        """Never raises; an open transaction is left to the broker."""
        ...


class PlainProducer(Protocol):
    """Idempotent, acks=all, murmur2: for commands that write to topics. Sending raises, at once or
    through its awaitable, `UnknownTopic`, `TooLarge` or `BrokerUnavailable`."""

    async def start(self) -> None: ...

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Headers = (),
    ) -> Awaitable[TopicPartition]:
        """The awaitable gives the record's partition, or raises."""
        ...

    async def send_many(
        self, topic: str, keys: Sequence[bytes], values: Sequence[bytes], headers: Headers = ()
    ) -> Awaitable[None]:
        """Each to its key's partition, in order within it; all with the same ``headers``. The
        awaitable resolves once every record is acknowledged, or raises the first failure.

        During an outage both wait without a bound, and no record is sent twice: the caller has the
        deadline."""
        ...

    async def close(self) -> None:
        """Flush, then close."""
        ...


BROKER_DEFAULT_REPLICATION: Final = -1
"""On creation of a topic, Kafka uses its ``default.replication.factor``."""


@dataclass(frozen=True, slots=True)
class TopicConfig:
    """As the broker describes it."""

    name: str
    partitions: int
    replication_factor: int
    config: Mapping[str, str]


class PartitionReplicas(NamedTuple):
    """Node ids. ``leader`` is -1 without one; ``in_sync`` are replicas that hold every acknowledged
    record."""

    leader: int
    replicas: tuple[int, ...]
    in_sync: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class MemberDescription:
    """``instance_id`` is "" for a dynamic member."""

    member_id: str
    instance_id: str
    assignment: frozenset[TopicPartition]


@dataclass(frozen=True, slots=True)
class GroupDescription:
    """``stable``: the members hold the assignments shown; False during a rebalance. An unknown
    group has no members and is stable."""

    group: str
    stable: bool
    members: tuple[MemberDescription, ...]

    def owners(self) -> dict[TopicPartition, MemberDescription]:
        return {tp: member for member in self.members for tp in member.assignment}


class Admin(Protocol):
    """Calls raise `BrokerUnavailable`, `UnknownTopic`, and `UsageError` for a configuration the
    broker refuses."""

    async def describe_topics(self) -> dict[str, TopicConfig]:
        """Those that are not internal to the broker. ``config`` holds the values set on the topic
        itself."""
        ...

    async def describe_replicas(self, topic: str) -> dict[int, PartitionReplicas]:
        """Where each partition of a topic lies, by number. Raises `UnknownTopic`."""
        ...

    async def create_topics(self, topics: Sequence[TopicConfig]) -> None:
        """Existing topics are unchanged."""
        ...

    async def delete_topics(self, names: Sequence[str]) -> None: ...

    async def create_partitions(self, totals: Mapping[str, int]) -> None:
        """Raises `RefusedBySafety` when a topic would shrink."""
        ...

    async def alter_config(self, topic: str, config: Mapping[str, str]) -> None: ...

    async def delete_records(self, before: Mapping[TopicPartition, int]) -> None:
        """Trim each log to start at the given offset, if it starts before. Raises
        `BrokerUnavailable` for a log whose end at the leader is before the offset; nothing of it is
        deleted."""
        ...

    async def committed(
        self, group: str, partitions: Iterable[TopicPartition], *, stable: bool = True
    ) -> dict[TopicPartition, CommittedOffset]:
        """Partitions without a committed offset are absent. Missing and transient answers are
        retried until `BrokerUnavailable`. ``stable``: wait for transactions that commit an offset
        of these partitions; False returns the offset before, enough for display."""
        ...

    async def describe_group(self, group: str) -> GroupDescription:
        """Raises `BrokerUnavailable` when the coordinator does not answer."""
        ...

    async def cluster_id(self) -> str:
        """Unique to this cluster, also against another one at the same address."""
        ...

    async def close(self) -> None: ...


class Broker(Protocol):
    """Creates the engine's clients; the only holder of the broker's address."""

    def consumer(self, group: str, topics: Sequence[str], instance_id: str) -> GroupConsumer: ...

    async def reader(self) -> LogReader: ...

    def transactional_producer(self, transactional_id: str) -> TransactionalProducer: ...

    def plain_producer(self) -> PlainProducer: ...

    async def admin(self) -> Admin: ...


class Store(Protocol):
    """An ordered key-value store of one partition; one `write` is atomic.

    Writes stay in memory until a flush. After a kill -9 the store holds a prefix of its writes,
    each of them whole, at least up to `flushed_to`; `close` flushes all. Opening raises
    `StoreUnusable` for a corrupt or locked store."""

    @property
    def files(self) -> Files:
        """Deleted with the store."""
        ...

    @property
    def written_to(self) -> int:
        """The position behind the last write; rises with each non-empty write."""
        ...

    @property
    def flushed_to(self) -> int:
        """At most `written_to`. Raises `StoreUnusable`."""
        ...

    def get(self, key: bytes) -> bytes | None: ...

    def items(self, prefix: bytes = b"") -> Iterable[tuple[bytes, bytes]]:
        """Pairs whose key starts with ``prefix``, in key order."""
        ...

    def write(self, entries: Iterable[tuple[bytes, bytes | None]]) -> None:
        """A value of None deletes the key; atomic."""
        ...

    def flush(self) -> None:
        """Start a flush without waiting. A store also flushes by itself. Raises `StoreUnusable`."""
        ...

    def close(self) -> None: ...


StoreFactory: TypeAlias = Callable[[TopicPartition, bool], Store]
"""(partition, fresh) -> open store; ``fresh`` takes a new, empty folder"""
