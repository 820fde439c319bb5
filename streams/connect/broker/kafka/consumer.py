"""A consumer group member on aiokafka.

Private parts of aiokafka 0.14, pinned by tests/contract/test_aiokafka_pins.py: the consumer's
``_client``, ``_fetcher``, ``_coordinator`` and ``_subscription``, the state of an assigned
partition, and the coordinator's ``member_id``, ``check_errors``, ``reset_generation``."""
# ruff: noqa: SLF001 - see above

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener

from streams.connect.broker.kafka.batches.fetches import FetchBuffer
from streams.connect.broker.kafka.connection import KafkaConnection
from streams.connect.broker.kafka.errors import CLIENT_ERRORS, broker_error, evicted
from streams.connect.broker.kafka.requests.metadata import partitions_of
from streams.connect.broker.kafka.tasks import CLOSE_TIMEOUT_S, end_client
from streams.core.errors import BrokerUnavailable, MembershipConflict
from streams.core.types import RebalanceListener, RecordBatch, TopicPartition, Watermarks

EVICTIONS_MAX = 2


class Membership:
    """An eviction shows as a changed member id at the next assignment.

    One may be an expired session. Two within a session timeout mean another process with the same
    static id: aiokafka's heartbeats carry no instance id, so each evicts the other."""

    def __init__(self, instance_id: str, session_timeout_s: float) -> None:
        self._instance_id = instance_id
        self._session_timeout_s = session_timeout_s
        self._member_id = ""
        self._evictions: deque[float] = deque(maxlen=EVICTIONS_MAX)

    def joined_as(self, member_id: str) -> None:
        if self._member_id and member_id != self._member_id:
            self._evictions.append(time.monotonic())
        self._member_id = member_id

    def check(self) -> None:
        """Raise `MembershipConflict` after two evictions within one session timeout."""
        if not self._instance_id or len(self._evictions) < EVICTIONS_MAX:
            return
        if self._evictions[-1] - self._evictions[0] <= self._session_timeout_s:
            raise MembershipConflict(
                f"member id {self._instance_id} is held by another process. "
                "Stop one of the two, or give each its own state folder."
            )


class AssignmentHolder(Protocol):
    def hold(self, partitions: frozenset[TopicPartition]) -> None: ...

    def told(self) -> None: ...


class ListenerAdapter(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """aiokafka logs and swallows the exceptions of its callbacks."""

    def __init__(self, holder: AssignmentHolder, listener: RebalanceListener) -> None:
        self._holder = holder
        self._listener = listener
        self._has_assignment = False

    async def on_partitions_revoked(  # pyright: ignore[reportIncompatibleMethodOverride]  # awaited
        self, revoked: set[Any]
    ) -> None:
        # the first join revokes no partition
        if self._has_assignment:
            await self._listener.on_revoked(frozenset(TopicPartition(*tp) for tp in revoked))

    async def on_partitions_assigned(  # pyright: ignore[reportIncompatibleMethodOverride]  # awaited
        self, assigned: set[Any]
    ) -> None:
        partitions = frozenset(TopicPartition(*tp) for tp in assigned)
        self._holder.hold(partitions)
        self._has_assignment = True
        try:
            await self._listener.on_assigned(partitions)
        finally:
            self._holder.told()


HEARTBEATS_PER_SESSION = 3
HEARTBEAT_MAX_S = 1.0
"""a rebalance waits for each member's next heartbeat"""
JOIN_TIMEOUT_S = 120.0
"""for the first assignment; other members may have to drain first"""
JOIN_POLL_S = 0.1

log = structlog.get_logger(__name__)


class KafkaConsumer:
    """Positions come from `seek` only."""

    def __init__(
        self, connection: KafkaConnection, group: str, topics: Sequence[str], instance_id: str
    ) -> None:
        self._connection = connection
        self._group = group
        self._topics = list(topics)
        self._instance_id = instance_id
        self._membership = Membership(instance_id, connection.session_timeout_s)
        self._assigned_once = asyncio.Event()
        self._held: set[TopicPartition] = set()
        self._paused: set[TopicPartition] = set()
        self._client: Any = None
        self._fetches: FetchBuffer | None = None

    async def start(self, listener: RebalanceListener) -> None:
        self._client = self._new_client()
        try:
            await self._client.start()
            self._fetches = FetchBuffer(self._client._fetcher, self._connection.batch_bytes_max)
            for topic in self._topics:
                await partitions_of(self._client._client, topic)
            self._client.subscribe(topics=self._topics, listener=ListenerAdapter(self, listener))
            await self._first_assignment()
        except CLIENT_ERRORS as error:
            await self.stop()
            raise self._unavailable(error) from error
        except BaseException:
            await self.stop()
            raise

    async def stop(self, *, leave: bool = False) -> None:
        client, self._client = self._client, None
        if client is None:
            return
        if leave:
            # The client sends no leave for a static member; the broker takes one by member id.
            client._coordinator._group_instance_id = None
        stopping = asyncio.ensure_future(client.stop())
        await asyncio.wait({stopping}, timeout=CLOSE_TIMEOUT_S)
        if not stopping.done() or stopping.exception() is not None:
            log.warning("kafka_consumer_stopped_late", group=self._group)
        stopping.cancel()
        await end_client(client._client, client, client._coordinator, client._fetcher)

    def assignment(self) -> frozenset[TopicPartition]:
        if self._client is None:
            return frozenset()
        return frozenset(TopicPartition(*tp) for tp in self._client.assignment())

    async def getmany(
        self, timeout_s: float, max_records: int
    ) -> dict[TopicPartition, RecordBatch]:
        if self._client is None or self._fetches is None:
            raise BrokerUnavailable(f"the consumer of group {self._group} is not running")
        deadline_s = time.monotonic() + timeout_s
        subscription = self._client._subscription
        # The client leaves the group after `max_poll_interval_ms` without a fetch context.
        with subscription.fetch_context():
            pass
        while self._client is not None:
            self._check_group()
            if not subscription.reassignment_in_progress:
                batches = self._drain(self._fetches, max_records)
                if batches:
                    return batches
            remaining_s = deadline_s - time.monotonic()
            if remaining_s <= 0:
                break
            await self._fetches.wait(remaining_s)
        return {}

    def seek(self, tp: TopicPartition, offset: int) -> None:
        if self._state(tp) is None or self._fetches is None:
            return
        self._fetches.seek(tp, offset)
        if tp in self._held:
            self._held.discard(tp)
            if tp not in self._paused:
                self._client._subscription.resume(tp)

    def pause(self, *partitions: TopicPartition) -> None:
        for tp in partitions:
            if self._state(tp) is not None:
                self._paused.add(tp)
                self._client._subscription.pause(tp)

    def resume(self, *partitions: TopicPartition) -> None:
        for tp in partitions:
            if self._state(tp) is not None:
                self._paused.discard(tp)
                if tp not in self._held:
                    self._client._subscription.resume(tp)

    def watermarks(self, tp: TopicPartition) -> Watermarks | None:
        state = self._state(tp)
        answered_at = None if self._fetches is None else self._fetches.answered_at(tp)
        if state is None or state.lso is None or answered_at is None:
            return None
        return Watermarks(state.lso, state.highwater, answered_at)

    def partitions(self, topic: str) -> int:
        if self._client is None:
            return 0
        return len(self._client._client.cluster.partitions_for_topic(topic) or ())

    def position(self, tp: TopicPartition) -> int | None:
        state = self._state(tp)
        if state is None or tp in self._held or not state.has_valid_position:
            return None
        return int(state.position)

    def hold(self, partitions: frozenset[TopicPartition]) -> None:
        if self._client is None or self._fetches is None:
            return
        self._held = set(partitions)
        self._paused.clear()
        self._fetches.forget_all()
        for tp in partitions:
            self._client._subscription.pause(tp)
        self._membership.joined_as(self._client._coordinator.member_id)

    def told(self) -> None:
        self._assigned_once.set()

    def _drain(self, fetches: FetchBuffer, max_records: int) -> dict[TopicPartition, RecordBatch]:
        try:
            return fetches.drain(self._held | self._paused, max_records)
        except CLIENT_ERRORS as error:
            raise self._unavailable(error) from error

    def _new_client(self) -> Any:
        connection = self._connection
        session_ms = round(connection.session_timeout_s * 1000)
        return AIOKafkaConsumer(
            **connection.client_options(),
            group_id=self._group,
            group_instance_id=self._instance_id or None,
            session_timeout_ms=session_ms,
            heartbeat_interval_ms=min(
                session_ms // HEARTBEATS_PER_SESSION, round(HEARTBEAT_MAX_S * 1000)
            ),
            isolation_level="read_committed",
            auto_offset_reset="none",
            enable_auto_commit=False,
            fetch_max_wait_ms=round(connection.fetch_max_wait_s * 1000),
            fetch_min_bytes=connection.fetch_min_bytes,
            fetch_max_bytes=connection.fetch_max_bytes,
            max_partition_fetch_bytes=connection.partition_fetch_max_bytes,
        )

    async def _first_assignment(self) -> None:
        deadline_s = time.monotonic() + JOIN_TIMEOUT_S
        waiter = asyncio.ensure_future(self._assigned_once.wait())
        try:
            while not waiter.done():
                self._check_group()
                if time.monotonic() > deadline_s:
                    raise BrokerUnavailable(
                        f"group {self._group} gave no assignment within {JOIN_TIMEOUT_S:.0f} s"
                    )
                await asyncio.wait({waiter}, timeout=JOIN_POLL_S)
        finally:
            waiter.cancel()

    def _check_group(self) -> None:
        self._membership.check()
        coordinator = self._client._coordinator
        try:
            coordinator.check_errors()
        except CLIENT_ERRORS as error:
            if evicted(error):
                # Join as a new member. The new id counts as an eviction.
                coordinator.reset_generation()
                return
            raise self._unavailable(error) from error

    def _state(self, tp: TopicPartition) -> Any:
        if self._client is None:
            return None
        subscription = self._client._subscription.subscription
        if subscription is None or subscription.assignment is None:
            return None
        return subscription.assignment.state_value(tp)

    def _unavailable(self, error: BaseException) -> Exception:
        return broker_error(error, f"group {self._group} at {self._connection.bootstrap}")
