"""A member of a consumer group, on aiokafka.

Private parts of aiokafka 0.14 used here, pinned by tests/contract/test_aiokafka_pins.py:
the fetcher's answer buffer ``_records`` (drained as columns instead of per record), its wake-ups
``_notify``, ``_wait_consume_future`` and ``_create_fetch_waiter``, ``_proc_fetch_request`` (to
know when an answer came), the subscription state, and the coordinator's ``member_id``,
``check_errors`` and ``reset_generation``.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka.consumer.fetcher import FetchResult
from aiokafka.errors import NoOffsetForPartitionError, OffsetOutOfRangeError

from streams.broker.kafka_columns import ColumnFetch
from streams.broker.kafka_connection import KafkaConnection
from streams.broker.kafka_errors import CLIENT_ERRORS, FencedInstanceIdError, broker_error
from streams.broker.kafka_metadata import partitions_of
from streams.broker.kafka_tasks import CLOSE_TIMEOUT_S, end_client
from streams.errors import BrokerUnavailable, MembershipConflict
from streams.types import (
    OffsetOutOfRange,
    RebalanceListener,
    RecordBatch,
    TopicPartition,
    Watermarks,
)

HEARTBEATS_PER_SESSION = 3
JOIN_TIMEOUT_S = 120.0
"""Longest wait for the first assignment: others may have to drain before the group settles."""
JOIN_POLL_S = 0.1

log = structlog.get_logger(__name__)


class KafkaConsumer:
    """`GroupConsumer` over `AIOKafkaConsumer`; the engine's seeks are its only positions."""

    def __init__(
        self, connection: KafkaConnection, group: str, topics: Sequence[str], instance_id: str
    ) -> None:
        self._connection = connection
        self._group = group
        self._topics = list(topics)
        self._instance_id = instance_id
        self._client: Any = None
        self._fetcher: Any = None
        self._held: set[TopicPartition] = set()
        self._paused: set[TopicPartition] = set()
        self._reported: set[TopicPartition] = set()
        self._answers: dict[TopicPartition, tuple[int, float]] = {}
        self._membership = _Membership(instance_id, connection.session_timeout_s)
        self._assigned_once = asyncio.Event()

    async def start(self, listener: RebalanceListener) -> None:
        connection = self._connection
        session_ms = round(connection.session_timeout_s * 1000)
        self._client = AIOKafkaConsumer(
            **connection.client_options(),
            group_id=self._group,
            group_instance_id=self._instance_id or None,
            session_timeout_ms=session_ms,
            heartbeat_interval_ms=session_ms // HEARTBEATS_PER_SESSION,
            isolation_level="read_committed",
            auto_offset_reset="none",
            enable_auto_commit=False,
            fetch_max_wait_ms=round(connection.fetch_max_wait_s * 1000),
            fetch_max_bytes=connection.fetch_max_bytes,
            max_partition_fetch_bytes=connection.partition_fetch_max_bytes,
        )
        try:
            await self._client.start()
            self._fetcher = self._client._fetcher  # noqa: SLF001
            self._stamp_answers()
            for topic in self._topics:
                await partitions_of(self._client._client, topic)  # noqa: SLF001
            self._client.subscribe(topics=self._topics, listener=_Listener(self, listener))
            await self._first_assignment()
        except CLIENT_ERRORS as error:
            await self.stop()
            raise self._unavailable(error) from error
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        client = self._client
        if client is None:
            return
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await client.stop()
        except (*CLIENT_ERRORS, asyncio.CancelledError) as error:
            log.warning("kafka_consumer_stop_failed", group=self._group, error=repr(error))
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
        finally:
            await end_client(client._client, client._coordinator, client._fetcher)  # noqa: SLF001

    def assignment(self) -> frozenset[TopicPartition]:
        return frozenset(TopicPartition(*tp) for tp in self._client.assignment())

    async def getmany(
        self, timeout_s: float, max_records: int
    ) -> dict[TopicPartition, RecordBatch]:
        deadline_s = time.monotonic() + timeout_s
        subscription = self._client._subscription  # noqa: SLF001
        with subscription.fetch_context():
            while True:
                self._check_membership()
                if not subscription.reassignment_in_progress:
                    batches = self._drain(max_records)
                    if batches:
                        return batches
                remaining_s = deadline_s - time.monotonic()
                if remaining_s <= 0:
                    return {}
                await self._wait_for_answer(remaining_s)

    def seek(self, tp: TopicPartition, offset: int) -> None:
        if self._state(tp) is None:
            return
        self._reported.discard(tp)
        self._fetcher.seek_to(tp, offset)
        if tp in self._held:
            self._held.discard(tp)
            if tp not in self._paused:
                self._client._subscription.resume(tp)  # noqa: SLF001

    def pause(self, *partitions: TopicPartition) -> None:
        for tp in partitions:
            if self._state(tp) is not None:
                self._paused.add(tp)
                self._client._subscription.pause(tp)  # noqa: SLF001

    def resume(self, *partitions: TopicPartition) -> None:
        for tp in partitions:
            if self._state(tp) is not None:
                self._paused.discard(tp)
                if tp not in self._held:
                    self._client._subscription.resume(tp)  # noqa: SLF001

    def watermarks(self, tp: TopicPartition) -> Watermarks | None:
        state = self._state(tp)
        if state is None or state.lso is None or tp not in self._answers:
            return None
        return Watermarks(state.lso, state.highwater, self._answers[tp][1])

    def position(self, tp: TopicPartition) -> int | None:
        state = self._state(tp)
        if state is None or tp in self._held or not state.has_valid_position:
            return None
        return int(state.position)

    # -- fetching ------------------------------------------------------------------------------

    def _drain(self, max_records: int) -> dict[TopicPartition, RecordBatch]:
        """Read what has been fetched. Paused and unpositioned partitions keep their answers."""
        batches: dict[TopicPartition, RecordBatch] = {}
        room = max_records
        for tp, answer in list(self._fetcher._records.items()):  # noqa: SLF001
            if room == 0:
                break
            ours = TopicPartition(*tp)
            if ours in self._held or ours in self._paused:
                continue
            if type(answer) is FetchResult:
                batch = self._read(ours, answer, room)
                if batch is not None:
                    batches[ours] = batch
                    room -= len(batch)
            elif not batches:
                self._raise_fetch_error(ours, answer._error)  # noqa: SLF001
        return batches

    def _read(self, tp: TopicPartition, answer: Any, room: int) -> RecordBatch | None:
        """The next records of one answer; None when the answer is stale or moves nothing."""
        if not answer.check_assignment(tp):
            self._forget(tp)
            return None
        columns = answer._partition_records  # noqa: SLF001
        if type(columns) is not ColumnFetch:
            columns = answer._partition_records = ColumnFetch(columns)  # noqa: SLF001
        batch = RecordBatch(tp, columns.next_fetch_offset, columns.next_fetch_offset)
        try:
            more = columns.read(batch, room)
        except CLIENT_ERRORS as error:
            self._forget(tp)
            raise self._unavailable(error) from error
        batch.end = columns.next_fetch_offset
        answer._update_position()  # noqa: SLF001
        if not more:
            self._forget(tp)
        return batch if batch.end > batch.start else None

    def _forget(self, tp: TopicPartition) -> None:
        """Drop an answer, so that the partition is fetched again."""
        fetcher = self._fetcher
        del fetcher._records[tp]  # noqa: SLF001
        fetcher._notify(fetcher._wait_consume_future)  # noqa: SLF001

    def _raise_fetch_error(self, tp: TopicPartition, error: Exception) -> None:
        """Tell an offset error once; it stays in the buffer, which stops further fetches, until
        the next seek removes it."""
        if isinstance(error, NoOffsetForPartitionError) or tp in self._reported:
            return
        if isinstance(error, OffsetOutOfRangeError):
            self._reported.add(tp)
            state = self._state(tp)
            raise OffsetOutOfRange(tp, state.position if state is not None else -1)
        self._forget(tp)
        raise self._unavailable(error) from error

    async def _wait_for_answer(self, timeout_s: float) -> None:
        waiter = self._fetcher._create_fetch_waiter()  # noqa: SLF001
        try:
            await asyncio.wait([waiter], timeout=timeout_s)
            if waiter.done() and (error := waiter.exception()) is not None:
                log.warning("kafka_group_error", group=self._group, error=repr(error))
        finally:
            waiter.cancel()

    def _stamp_answers(self) -> None:
        """Note when each partition's fetch was last answered, on the monotonic clock.

        The client stamps answers with the wall clock, which may step.
        """
        fetch = self._fetcher._proc_fetch_request  # noqa: SLF001

        async def stamped(assignment: Any, node_id: int, request: Any) -> bool:
            woken = await fetch(assignment, node_id, request)
            now = time.monotonic()
            for topic, partitions in request.topics:
                for partition, *_ in partitions:
                    tp = TopicPartition(topic, partition)
                    state = assignment.state_value(tp)
                    stamp = None if state is None else state.timestamp
                    if stamp is not None and self._answers.get(tp, (None,))[0] != stamp:
                        self._answers[tp] = (stamp, now)
            return bool(woken)

        self._fetcher._proc_fetch_request = stamped  # noqa: SLF001

    # -- membership ----------------------------------------------------------------------------

    async def _first_assignment(self) -> None:
        deadline_s = time.monotonic() + JOIN_TIMEOUT_S
        while not self._assigned_once.is_set():
            self._check_membership()
            if time.monotonic() > deadline_s:
                raise BrokerUnavailable(
                    f"group {self._group} gave no assignment within {JOIN_TIMEOUT_S:.0f} s"
                )
            waiter = asyncio.ensure_future(self._assigned_once.wait())
            await asyncio.wait({waiter}, timeout=JOIN_POLL_S)
            waiter.cancel()

    def _check_membership(self) -> None:
        """Raise what the client's coordination met in the background."""
        self._membership.check()
        coordinator = self._client._coordinator  # noqa: SLF001
        try:
            coordinator.check_errors()
        except CLIENT_ERRORS as error:
            if FencedInstanceIdError.message in str(error):
                # Join as a new member; the change of member id counts as an eviction.
                coordinator.reset_generation()
                return
            raise self._unavailable(error) from error

    def _hold_all(self, partitions: frozenset[TopicPartition]) -> None:
        """Keep a new assignment from consuming anything before the engine seeks it."""
        self._held = set(partitions)
        self._paused.clear()
        self._reported.clear()
        self._answers.clear()
        for tp in partitions:
            self._client._subscription.pause(tp)  # noqa: SLF001
        self._membership.joined_as(self._client._coordinator.member_id)  # noqa: SLF001

    def _state(self, tp: TopicPartition) -> Any:
        """The client's state of an assigned partition, or None."""
        subscription = None if self._client is None else self._client._subscription.subscription  # noqa: SLF001
        if subscription is None or subscription.assignment is None:
            return None
        return subscription.assignment.state_value(tp)

    def _unavailable(self, error: BaseException) -> Exception:
        return broker_error(error, f"group {self._group} at {self._connection.bootstrap}")


class _Membership:
    """Counts evictions: each shows as a changed member id at the next assignment."""

    def __init__(self, instance_id: str, session_timeout_s: float) -> None:
        self._instance_id = instance_id
        self._session_timeout_s = session_timeout_s
        self._member_id = ""
        self._evictions: deque[float] = deque(maxlen=2)

    def joined_as(self, member_id: str) -> None:
        if self._member_id and member_id != self._member_id:
            self._evictions.append(time.monotonic())
        self._member_id = member_id

    def check(self) -> None:
        """Raise `MembershipConflict` after two evictions within one session timeout."""
        if len(self._evictions) < 2 or not self._instance_id:
            return
        if self._evictions[1] - self._evictions[0] <= self._session_timeout_s:
            raise MembershipConflict(
                f"member id {self._instance_id} is held by another process. "
                "Stop one of the two, or give each its own state folder."
            )


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """Turns the client's callbacks into ours. The client logs and swallows what they raise."""

    def __init__(self, consumer: KafkaConsumer, listener: RebalanceListener) -> None:
        self._consumer = consumer
        self._listener = listener
        self._told = False

    async def on_partitions_revoked(self, revoked: set[Any]) -> None:
        # The first join revokes nothing, and there is nobody to tell.
        if self._told:
            await self._listener.on_revoked(frozenset(TopicPartition(*tp) for tp in revoked))

    async def on_partitions_assigned(self, assigned: set[Any]) -> None:
        partitions = frozenset(TopicPartition(*tp) for tp in assigned)
        self._consumer._hold_all(partitions)  # noqa: SLF001  # one class in two halves
        self._told = True
        try:
            await self._listener.on_assigned(partitions)
        finally:
            self._consumer._assigned_once.set()  # noqa: SLF001
