"""Reads the buffer of aiokafka's fetcher as columns.

Its own `getmany` builds an object per record and hides list boundaries and positions moved past
control markers. tests/contract/test_aiokafka_pins.py pins ``_records``, ``_notify``,
``_wait_consume_future``, ``_create_fetch_waiter`` and ``_proc_fetch_request``."""
# ruff: noqa: SLF001 - this module is the one place that knows the fetcher from inside

from __future__ import annotations

import asyncio
import time
from collections.abc import Set as AbstractSet
from typing import Any

from aiokafka.consumer.fetcher import FetchResult
from aiokafka.errors import NoOffsetForPartitionError, OffsetOutOfRangeError

from streams.connect.broker.kafka.batches.columns import ColumnFetch
from streams.connect.broker.kafka.batches.decompression import BATCH_BYTES_MAX
from streams.connect.broker.kafka.batches.record_set import keep_record_sets
from streams.core import kernels
from streams.core.errors import BatchUnreadable
from streams.core.records.framed_batch import FramedBatch
from streams.core.types import OffsetOutOfRange, RecordBatch, TopicPartition

SILENCE_MAX_S = 5.0
"""Longest pause between two answers about a partition within which its topic cannot be deleted,
recreated and refilled without a refused fetch."""


class FetchBuffer:
    """The answers of one aiokafka ``Fetcher``, one per partition. Raises the client's errors."""

    def __init__(self, fetcher: Any, batch_bytes_max: int = BATCH_BYTES_MAX) -> None:
        keep_record_sets()
        self._fetcher = fetcher
        self._batch_bytes_max = batch_bytes_max
        self._told: set[TopicPartition] = set()
        self._answers: dict[TopicPartition, float] = {}
        self._broken: set[TopicPartition] = set()
        self._fetch = fetcher._proc_fetch_request
        fetcher._proc_fetch_request = self._fetch_and_stamp

    def forget_all(self) -> None:
        self._told.clear()
        self._answers.clear()
        self._broken.clear()

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self._told.discard(tp)
        self._fetcher.seek_to(tp, offset)

    def answered_at(self, tp: TopicPartition) -> float | None:
        """Monotonic time; None before the first answer."""
        return self._answers.get(tp)

    def drain(
        self, passed_over: AbstractSet[TopicPartition], max_records: int
    ) -> dict[TopicPartition, RecordBatch]:
        """Partitions in ``passed_over`` keep their answers. Raises `OffsetOutOfRange` and
        `BatchUnreadable` once per seek, and only where no record was read: positions of returned
        records have moved."""
        batches: dict[TopicPartition, RecordBatch] = {}
        room = max_records
        for client_tp, answer in list(self._fetcher._records.items()):
            if room == 0:
                break
            tp = TopicPartition(*client_tp)
            if tp in passed_over:
                continue
            if type(answer) is FetchResult:
                try:
                    batch = self._read(tp, answer, room)
                except BatchUnreadable:
                    # The answer stays in the buffer until a seek, as with OFFSET_OUT_OF_RANGE.
                    if batches or tp in self._told:
                        continue
                    self._told.add(tp)
                    raise
                if batch is not None:
                    batches[tp] = batch
                    room -= len(batch)
            elif not batches:
                self._tell(tp, answer._error)
        return batches

    async def wait(self, timeout_s: float) -> None:
        """For an answer or a failure of the group coordinator."""
        waiter = self._fetcher._create_fetch_waiter()
        try:
            await asyncio.wait([waiter], timeout=timeout_s)
            if waiter.done():
                waiter.exception()  # the coordinator raises it at the next check
        finally:
            waiter.cancel()

    def _read(self, tp: TopicPartition, answer: Any, room: int) -> RecordBatch | None:
        """None when the answer is stale or moves no position."""
        if not answer.check_assignment(tp):
            self._drop(tp)
            return None
        columns = answer._partition_records
        if type(columns) is not ColumnFetch:
            columns = answer._partition_records = ColumnFetch(
                *(tp, columns, self._batch_bytes_max),
                framing=kernels.active is not None,
                unmarked=True,
            )
        batch = FramedBatch(tp, columns.next_fetch_offset, columns.next_fetch_offset)
        more = columns.read(batch, room)
        batch.end = columns.next_fetch_offset
        answer._update_position()
        if not more:
            self._drop(tp)
        if batch.end == batch.start:
            return None
        if tp in self._broken:
            self._broken.discard(tp)
            batch.continued = False
        return batch

    def _drop(self, tp: TopicPartition) -> None:
        del self._fetcher._records[tp]
        self._fetcher._notify(self._fetcher._wait_consume_future)

    def _tell(self, tp: TopicPartition, error: Exception) -> None:
        # An offset error in the buffer keeps the client from fetching until a seek. Without a
        # position a seek is pending.
        if isinstance(error, NoOffsetForPartitionError) or tp in self._told:
            return
        if isinstance(error, OffsetOutOfRangeError):
            self._told.add(tp)
            [offset] = error.args[0].values()
            raise OffsetOutOfRange(tp, offset)
        self._drop(tp)
        raise error

    async def _fetch_and_stamp(self, assignment: Any, node_id: int, request: Any) -> bool:
        """Record the monotonic time of the answer about each partition: the client stamps answers
        with the wall clock, and refused ones not at all."""
        asked = [
            TopicPartition(topic, partition)
            for topic, partitions in request.topics
            for partition, *_ in partitions
        ]
        for tp in asked:
            assignment.state_value(tp).timestamp = None
        woken = await self._fetch(assignment, node_id, request)
        now = time.monotonic()
        for tp in asked:
            if assignment.state_value(tp).timestamp is None:
                self._broken.add(tp)
                continue
            if now - self._answers.get(tp, now) > SILENCE_MAX_S:
                self._broken.add(tp)
            self._answers[tp] = now
        return bool(woken)
