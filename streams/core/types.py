"""The words every layer shares, and the small protocols behind which the outside world stands.

The engine sees its broker, its shards, its store and its clock only through these protocols.
Each has a first-party in-memory form that passes the same contract suite as the real one
(tests/contract), so a deterministic simulation runs the engine unchanged.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import NamedTuple, Protocol, TypeAlias

from streams.core.derived_files import Files

Headers: TypeAlias = tuple[tuple[str, bytes], ...]


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}"


@dataclass(slots=True)
class RecordBatch:
    """Consecutive records of one partition, as columns of equal length (possibly zero).

    ``start`` and ``end`` are the consumer's position before and after the call that returned
    the batch: ``end`` may lie past the last record where control markers or aborted records
    follow it, and an empty batch says that only such offsets were passed.
    ``timestamps`` are milliseconds since the epoch: the append time, if ``append_times``, else
    what the producer wrote; a batch never mixes the two. ``first_epoch`` and ``last_epoch`` are
    the leader epochs under which the first and the last offset passed were appended, -1 where
    that is unknown. ``continued`` False: since the list before, the broker refused to answer about
    the partition or did not answer for a while, so that its log may have been replaced unseen.
    """

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
        """Its first ``count`` records, up to the offset of the next one."""
        if count == len(self):
            return self
        return self._chosen(range(count), self.offsets[count])

    def take(self, rows: Sequence[int]) -> RecordBatch:
        """Some of its records, by index, as a batch from the same ``start`` to the same ``end``."""
        return self._chosen(rows, self.end)

    def _chosen(self, rows: Sequence[int], end: int) -> RecordBatch:
        offsets = [self.offsets[row] for row in rows]
        timestamps = [self.timestamps[row] for row in rows]
        keys, values = [self.keys[row] for row in rows], [self.values[row] for row in rows]
        found = [self.headers[row] for row in rows]
        chosen = RecordBatch(self.tp, self.start, end, offsets, timestamps, keys, values, found)
        chosen.append_times, chosen.continued = self.append_times, self.continued
        chosen.first_epoch = self.first_epoch
        return chosen

    def to_lists(self) -> None:
        """Make the columns lists, once, for a consumer that takes the records one at a time."""

    def last(self) -> tuple[int, int]:
        """Offset and timestamp of its last record."""
        return self.offsets[-1], self.timestamps[-1]

    def any_headers(self) -> bool:
        """Whether any record has one."""
        return any(self.headers)

    def rows_with_headers(self) -> Iterable[int]:
        """Their indexes, ascending; the others are passed over at C speed."""
        return compress(range(len(self.headers)), self.headers)


class Watermarks(NamedTuple):
    """What the broker last said of a partition, and when (monotonic seconds of the consumer)."""

    last_stable_offset: int
    high_watermark: int
    answered_at: float


class LogBounds(NamedTuple):
    """``begin`` is the first offset that is kept, ``stable_end`` the last stable offset."""

    begin: int
    stable_end: int


class CommittedOffset(NamedTuple):
    """A group's committed offset and the metadata string stored beside it."""

    offset: int
    metadata: str


@dataclass(frozen=True, slots=True)
class OutboundRecord:
    """One record to send inside a transaction. ``partition`` is always explicit."""

    tp: TopicPartition
    key: bytes | None
    value: bytes | None
    headers: Headers = ()
    timestamp_ms: int | None = None


class RebalanceListener(Protocol):
    """Called at assignment changes. Both calls must return well inside the session timeout."""

    async def on_revoked(self, partitions: frozenset[TopicPartition]) -> None: ...

    async def on_assigned(self, partitions: frozenset[TopicPartition]) -> None: ...


class GroupConsumer(Protocol):
    """A member of a consumer group; read_committed; never resets an offset by itself.

    After each assignment every partition starts unpaused and without a position: it yields
    nothing until `seek`. Calls about a partition that is not assigned do nothing.

    Calls that reach the broker raise `BrokerUnavailable`; nothing else of the client's own
    exception types gets through.
    """

    async def start(self, listener: RebalanceListener) -> None:
        """Join; returns once the listener has the first assignment.

        Raises `UnknownTopic` when a topic does not exist.
        """
        ...

    async def stop(self) -> None:
        """Leave (a static member stays known to the group until its session times out)."""
        ...

    def assignment(self) -> frozenset[TopicPartition]: ...

    async def getmany(
        self, timeout_s: float, max_records: int
    ) -> dict[TopicPartition, RecordBatch]:
        """One batch per partition that moved, waiting at most ``timeout_s`` for the first.

        ``max_records`` bounds the records of one call over all partitions. A broker that is
        away shows as silence: nothing is returned and `watermarks` grow old.

        Raises `OffsetOutOfRange`, once per seek, for a partition whose position is not in its
        log, and `BatchUnreadable` for one whose next batch cannot be opened: that partition yields
        nothing more until the next `seek`; the others go on. Either is raised by a call that read
        nothing, so no list is ever lost with it.
        Raises `MembershipConflict` after two evictions within one session timeout, and
        `BrokerUnavailable` when the group coordinator refuses this member: if it goes on, stop
        this consumer and start another.
        """
        ...

    def seek(self, tp: TopicPartition, offset: int) -> None: ...

    def pause(self, *partitions: TopicPartition) -> None: ...

    def resume(self, *partitions: TopicPartition) -> None: ...

    def watermarks(self, tp: TopicPartition) -> Watermarks | None:
        """None until a fetch of this partition was answered."""
        ...

    def partitions(self, topic: str) -> int:
        """How many it has, as far as the client knows by now; 0 where it does not."""
        ...

    def position(self, tp: TopicPartition) -> int | None:
        """Offset of the next record a fetch would return; None when not assigned."""
        ...


class LogReader(Protocol):
    """Reads one partition without a group, read_committed but for `read_all`: for restore, audit and
    tests.

    One read may return less than was asked for, and says nothing about where the log ends:
    `streams.connect.broker.log_range` reads a part of a log to an end that is known.
    Raises `BrokerUnavailable`, and `UnknownTopic` for a partition that does not exist.
    """

    async def beginning_offset(self, tp: TopicPartition) -> int: ...

    async def last_stable_offset(self, tp: TopicPartition) -> int: ...

    async def bounds(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, LogBounds]:
        """Start and last stable offset of each partition, in a few requests for all of them. Every
        start is read before any end."""
        ...

    async def high_watermark(self, tp: TopicPartition) -> int:
        """One past the last record, those of open transactions included."""
        ...

    async def read(self, tp: TopicPartition, offset: int, max_records: int = 5000) -> RecordBatch:
        """Up to ``max_records`` records from ``offset`` on.

        Empty with ``end == offset`` only where ``offset`` was at or behind the last stable offset
        of that same answer. A leader that is not up to date names an older one than
        `last_stable_offset` did. Below it an answer without records is asked for again, until
        `BrokerUnavailable`.
        Raises `OffsetOutOfRange` when ``offset`` is below the log's start or past its end, and
        `BatchUnreadable` when no record lies between ``offset`` and a batch that cannot be opened.
        """
        ...

    async def read_all(
        self, tp: TopicPartition, offset: int, max_records: int = 5000
    ) -> RecordBatch:
        """As `read`, up to the high watermark and with the records of transactions that are aborted
        or open: what was written, whatever became of it."""
        ...

    async def close(self) -> None: ...


class OffsetOutOfRange(Exception):  # noqa: N818 - a signal between reader and restore, not an error
    """The asked offset is not in the log. Control flow of A2-A4, never shown to a user."""

    def __init__(self, tp: TopicPartition, offset: int) -> None:
        super().__init__(f"offset {offset} is not in the log of {tp}")
        self.tp = tp
        self.offset = offset


class TransactionalProducer(Protocol):
    """The one writer of a partition's truth. Starting a second one fences the first.

    Every call raises `ProducerFenced` once fenced and `CommitInDoubt` when the result of the
    call is unknown or refused; after either the instance is only good for `close`. A
    transaction in which one send failed cannot be committed.
    """

    async def start(self) -> None:
        """A1: fence the previous holder of the id, aborting its open transaction.

        Raises `BrokerUnavailable` when the coordinator does not answer in time.
        """
        ...

    async def begin(self) -> None:
        """Begin a transaction; `CommitInDoubt` when one is open already."""
        ...

    async def send(self, record: OutboundRecord) -> Awaitable[int]:
        """Queue one record; the returned awaitable gives its offset, or raises."""
        ...

    async def send_many(self, records: Sequence[OutboundRecord]) -> Awaitable[None]:
        """Queue records in bulk, in order within a partition: for thousands at a time.

        The awaitable resolves once every record has an offset, or raises the first failure.
        """
        ...

    async def send_offsets(
        self, offsets: Mapping[TopicPartition, CommittedOffset], group: str
    ) -> None: ...

    async def commit(self) -> None: ...

    async def abort(self) -> None: ...

    async def close(self) -> None:
        """Give up the connection. Never raises; an open transaction is left to the broker."""
        ...


class PlainProducer(Protocol):
    """Idempotent, acks=all, murmur2: for commands that feed topics.

    Sending raises, at once or through its awaitable, `UnknownTopic`, `TooLarge` or
    `BrokerUnavailable`.
    """

    async def start(self) -> None: ...

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Headers = (),
    ) -> Awaitable[TopicPartition]:
        """Queue one record; the awaitable gives the partition it landed in, or raises."""
        ...

    async def send_many(
        self, topic: str, keys: Sequence[bytes], values: Sequence[bytes], headers: Headers = ()
    ) -> Awaitable[None]:
        """Queue records in bulk, each to its key's partition, in order within a partition; all
        with the same ``headers``.

        The awaitable resolves once every record is acknowledged, or raises the first failure.
        """
        ...

    async def close(self) -> None:
        """Flush, then close."""
        ...


@dataclass(frozen=True, slots=True)
class TopicConfig:
    """A topic as the broker describes it; to create one, a ``replication_factor`` of -1 asks for the
    broker's default."""

    name: str
    partitions: int
    replication_factor: int
    config: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class MemberDescription:
    """One member of a consumer group. ``instance_id`` is "" for a dynamic member."""

    member_id: str
    instance_id: str
    assignment: frozenset[TopicPartition]


@dataclass(frozen=True, slots=True)
class GroupDescription:
    """A consumer group as its coordinator describes it.

    ``stable``: the members hold the assignments shown; False while the group rebalances. A group
    that does not exist has no members and is stable.
    """

    group: str
    stable: bool
    members: tuple[MemberDescription, ...]

    def owners(self) -> dict[TopicPartition, MemberDescription]:
        """Partition to the member it is assigned to."""
        return {tp: member for member in self.members for tp in member.assignment}


class Admin(Protocol):
    """The few administrative calls the pipeline needs.

    Raise `BrokerUnavailable`, `UnknownTopic` for a topic that does not exist, and `UsageError`
    for a configuration the broker refuses.
    """

    async def describe_topics(self) -> dict[str, TopicConfig]:
        """Every topic that is not internal to the broker, by name.

        ``config`` holds the values set on the topic itself, not inherited defaults.
        """
        ...

    async def create_topics(self, topics: Sequence[TopicConfig]) -> None:
        """Create what is missing; a topic that exists is left as it is."""
        ...

    async def delete_topics(self, names: Sequence[str]) -> None:
        """Delete what exists, with all its records."""
        ...

    async def create_partitions(self, totals: Mapping[str, int]) -> None:
        """Grow each topic to its total. `RefusedBySafety` when a topic would shrink."""
        ...

    async def alter_config(self, topic: str, config: Mapping[str, str]) -> None: ...

    async def delete_records(self, before: Mapping[TopicPartition, int]) -> None:
        """Trim each log so that it starts at the given offset, or leave it where it starts later.

        Raises `BrokerUnavailable` for a log whose end at the leader is before the offset
        at that moment: nothing of it is deleted, never everything up to its end.
        """
        ...

    async def committed(
        self, group: str, partitions: Iterable[TopicPartition], *, stable: bool = True
    ) -> dict[TopicPartition, CommittedOffset]:
        """Partitions of which the coordinator says that nothing was committed are absent.

        A coordinator that loads, has moved or does not answer is asked again, until
        `BrokerUnavailable`: no answer is never "nothing committed". ``stable``: wait for the end
        of transactions that commit an offset of these partitions; what only shows an offset may
        do without and gets the one before.
        """
        ...

    async def describe_group(self, group: str) -> GroupDescription:
        """Members of a consumer group and what each is assigned.

        Raises `BrokerUnavailable` when the coordinator did not say.
        """
        ...

    async def cluster_id(self) -> str:
        """Unique to this cluster: it differs from another one at the same address."""
        ...

    async def close(self) -> None: ...


class Broker(Protocol):
    """Where the engine gets its clients from: the one place that knows the address."""

    def consumer(self, group: str, topics: Sequence[str], instance_id: str) -> GroupConsumer: ...

    async def reader(self) -> LogReader: ...

    def transactional_producer(self, transactional_id: str) -> TransactionalProducer: ...

    def plain_producer(self) -> PlainProducer: ...

    async def admin(self) -> Admin: ...


class Store(Protocol):
    """An ordered key-value store of one partition; one `write` is atomic.

    Writes wait in memory until a flush. After a kill -9 the store holds the first of its writes,
    each of them whole, at least up to `flushed_to`; `close` flushes all.
    Opening a store raises `StoreUnusable` when it is corrupt or locked.
    """

    @property
    def files(self) -> Files:
        """What tables derive from its entries; gone when the store is."""
        ...

    @property
    def written_to(self) -> int:
        """The position behind the last write: it rises with each write that has an entry."""
        ...

    @property
    def flushed_to(self) -> int:
        """The position up to which writes are flushed, never above `written_to`. Raises
        `StoreUnusable`."""
        ...

    def get(self, key: bytes) -> bytes | None: ...

    def items(self, prefix: bytes = b"") -> Iterable[tuple[bytes, bytes]]:
        """Every pair whose key starts with ``prefix``, in key order."""
        ...

    def write(self, entries: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Put each value, delete each key whose value is None; all or nothing."""
        ...

    def flush(self) -> None:
        """Begin to flush what is written, and do not wait for it. A store flushes by itself too,
        whenever enough is written. Raises `StoreUnusable`."""
        ...

    def close(self) -> None: ...


StoreFactory: TypeAlias = Callable[[TopicPartition, bool], Store]
"""(partition, fresh) -> open store; ``fresh`` takes a new, empty folder."""
