"""A consumer group member on the in-memory broker."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

import structlog

from streams.connect.broker.memory.cluster import Cluster
from streams.connect.broker.memory.group import Member
from streams.connect.broker.memory.log import Log
from streams.core import kernels
from streams.core.errors import BatchUnreadable, BrokerUnavailable, MembershipConflict, UnknownTopic
from streams.core.records.framed_batch import framed
from streams.core.types import (
    OffsetOutOfRange,
    RebalanceListener,
    RecordBatch,
    TopicPartition,
    Watermarks,
)

SILENCE_MAX_S = 5.0
"""As in streams/connect/broker/kafka/batches/fetches.py."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Assigned:
    position: int | None = None
    paused: bool = False
    failed: bool = False
    """an error of the position was raised: no records until the next seek"""
    watermarks: Watermarks | None = None
    log: Log | None = None
    """log read last; a different one means that the topic was recreated"""
    broken: bool = False


class MemoryConsumer:
    """One task acts as the client's coordination thread. `mute` stops the heartbeats only, which
    makes a zombie."""

    def __init__(
        self,
        cluster: Cluster,
        group: str,
        topics: Sequence[str],
        instance_id: str,
        session_timeout_s: float,
    ) -> None:
        self._cluster = cluster
        self._group = cluster.group(group)
        self._topics = frozenset(topics)
        self._instance_id = instance_id
        self._session_timeout_s = session_timeout_s
        self._member: Member | None = None
        self._assigned: dict[TopicPartition, _Assigned] = {}
        self._turn: deque[TopicPartition] = deque()
        self._rebalancing = True
        self._muted = False
        self._evictions: deque[float] = deque(maxlen=2)
        self._failure: MembershipConflict | BrokerUnavailable | None = None
        self._coordination: asyncio.Task[None] | None = None
        self._first_assignment = asyncio.Event()

    async def start(self, listener: RebalanceListener) -> None:
        await self._cluster.call("join")
        for topic in sorted(self._topics):
            if topic not in self._cluster.topics:
                raise UnknownTopic(f"topic {topic} does not exist. Run `dia topics apply`.")
        self._coordination = asyncio.ensure_future(self._coordinate(listener))
        await self._first_assignment.wait()
        if self._failure is not None:
            raise self._failure

    async def stop(self, *, leave: bool = False) -> None:
        if self._coordination is not None:
            self._coordination.cancel()
            await asyncio.wait({self._coordination})
        if self._member is not None and self._group.is_current(self._member):
            if self._instance_id and not leave:
                self._group.fall_silent(self._member)
            else:
                self._group.leave(self._member)
        self._member = None
        self._assigned = {}
        # A fetch that waits finds nothing more, as with the real client.
        self._turn.clear()
        self._cluster.signal.notify()

    def mute(self) -> None:
        """As in a long pause or a network split."""
        self._muted = True
        if self._member is not None:
            self._group.fall_silent(self._member)
        self._cluster.signal.notify()

    def unmute(self) -> None:
        self._muted = False
        if self._member is not None:
            self._member.expires_at = None
        self._cluster.signal.notify()

    def assignment(self) -> frozenset[TopicPartition]:
        return frozenset(self._assigned)

    async def getmany(
        self, timeout_s: float, max_records: int
    ) -> dict[TopicPartition, RecordBatch]:
        deadline_s = self._cluster.clock.monotonic() + timeout_s
        await self._cluster.call("fetch")
        # The real client yields here; otherwise a busy reader starves other tasks.
        await asyncio.sleep(0)
        while True:
            if self._failure is not None:
                raise self._failure
            fetched = self._fetch(max_records)
            if fetched or self._cluster.clock.monotonic() >= deadline_s:
                return fetched
            await self._cluster.wait(deadline_s)

    def seek(self, tp: TopicPartition, offset: int) -> None:
        state = self._assigned.get(tp)
        if state is not None:
            state.position = offset
            state.failed = False
            self._cluster.signal.notify()

    def pause(self, *partitions: TopicPartition) -> None:
        for tp in partitions:
            if tp in self._assigned:
                self._assigned[tp].paused = True

    def resume(self, *partitions: TopicPartition) -> None:
        for tp in partitions:
            if tp in self._assigned:
                self._assigned[tp].paused = False
        self._cluster.signal.notify()

    def watermarks(self, tp: TopicPartition) -> Watermarks | None:
        state = self._assigned.get(tp)
        return None if state is None else state.watermarks

    def partitions(self, topic: str) -> int:
        return self._cluster.partitions(topic)

    def position(self, tp: TopicPartition) -> int | None:
        state = self._assigned.get(tp)
        return None if state is None else state.position

    def _fetch(self, max_records: int) -> dict[TopicPartition, RecordBatch]:
        fetched: dict[TopicPartition, RecordBatch] = {}
        if self._cluster.faults.is_down:
            for state in self._assigned.values():
                state.broken = True
        if self._rebalancing or self._cluster.faults.is_down:
            return fetched
        room = max_records
        for _ in range(len(self._turn)):
            if room == 0:
                break
            tp = self._turn[0]
            self._turn.rotate(-1)
            try:
                batch = self._fetch_partition(tp, room)
            except (OffsetOutOfRange, BatchUnreadable):
                if not fetched:
                    self._assigned[tp].failed = True
                    raise
                # The next call starts with this partition and raises: busy partitions must not hide
                # the error.
                self._turn.rotate(1)
                break
            if batch is not None and not self._cluster.faults.take_lost_list():
                fetched[tp] = batch
                room -= len(batch)
        return fetched

    def _fetch_partition(self, tp: TopicPartition, max_records: int) -> RecordBatch | None:
        state = self._assigned[tp]
        if state.position is None or state.paused or state.failed:
            return None
        if tp.partition >= self._cluster.partitions(tp.topic):
            return None
        partition = self._cluster.log(tp)
        now_s = self._cluster.clock.monotonic()
        if state.log is not partition and state.log is not None:
            state.broken = True
        if state.watermarks and now_s - state.watermarks.answered_at > SILENCE_MAX_S:
            state.broken = True
        state.log = partition
        replicas = self._cluster.replicas
        stable = replicas.last_stable_offset(partition)
        state.watermarks = Watermarks(stable, replicas.high_watermark(partition), now_s)
        batch = partition.read_committed(state.position, max_records, stable)
        state.position = batch.end
        if batch.end == batch.start:
            return None
        batch.continued, state.broken = not state.broken, False
        return batch if kernels.active is None else framed(batch)

    async def _coordinate(self, listener: RebalanceListener) -> None:
        while await self._join():
            await self._tell(listener.on_assigned)
            self._first_assignment.set()
            await self._cluster.until(self._must_join)
            self._rebalancing = True
            await self._tell(listener.on_revoked)

    async def _join(self) -> bool:
        while True:
            previous = self._member
            if previous is not None and not self._group.is_current(previous) and self._evicted():
                return False
            member = self._member = self._group.join(
                previous, self._instance_id, self._topics, self._session_timeout_s
            )
            self._cluster.signal.notify()
            await self._cluster.until(partial(self._has_settled, member))
            if not self._group.must_join(member):
                break
        foreign = sorted(tp for tp in member.assignment if tp.topic not in self._topics)
        if foreign:
            return self._fail(
                BrokerUnavailable(f"group assigned {foreign[0]}, which this member does not read")
            )
        self._assigned = {tp: _Assigned() for tp in member.assignment}
        self._turn = deque(sorted(member.assignment))
        self._rebalancing = False
        return True

    def _has_settled(self, member: Member) -> bool:
        return not self._group.is_settling(member)

    def _must_join(self) -> bool:
        assert self._member is not None
        return not self._muted and self._group.must_join(self._member)

    def _evicted(self) -> bool:
        """True for the second eviction within a session timeout."""
        now = self._cluster.clock.monotonic()
        self._evictions.append(now)
        if len(self._evictions) < 2 or now - self._evictions[0] > self._session_timeout_s:
            return False
        conflict = MembershipConflict(
            f"member id {self._instance_id} is held by another process. "
            "Stop one of the two, or give each its own state folder."
        )
        return not self._fail(conflict)

    def _fail(self, error: MembershipConflict | BrokerUnavailable) -> bool:
        self._failure = error
        self._first_assignment.set()
        self._cluster.signal.notify()
        return False

    async def _tell(self, callback: Callable[[frozenset[TopicPartition]], Awaitable[None]]) -> None:
        times = 2 if self._cluster.faults.take_repeated_callback() else 1
        for _ in range(times):
            try:
                await callback(self.assignment())
            except Exception:
                # the real client swallows these too
                log.exception("rebalance_listener_failed", group_member=self._instance_id)
