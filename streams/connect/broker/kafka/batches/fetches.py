"""Reads the answers of aiokafka's fetcher as columns.

Its own `getmany` builds an object per record and hides list boundaries and positions moved past
control markers. The fetcher asks for more only once its buffer is empty. So its answers are taken out of it when
all before them are read, and the next ones arrive meanwhile: memory holds two answers of each broker at most.

tests/contract/test_aiokafka_pins.py pins ``_records``, ``_notify``,
``_wait_consume_future``, ``_create_fetch_waiter``, ``_fetch_waiters`` and ``_proc_fetch_request``."""
# ruff: noqa: SLF001 - this module is the one place that knows the fetcher from inside

from __future__ import annotations

import asyncio
import time
from collections.abc import Set as AbstractSet
from contextlib import suppress
from functools import partial
from typing import Any

from aiokafka.consumer.fetcher import FetchResult
from aiokafka.errors import NoOffsetForPartitionError, OffsetOutOfRangeError

from streams.connect.broker.kafka.batches.answers import OpeningThread, UnreadAnswer
from streams.connect.broker.kafka.batches.columns import ColumnFetch
from streams.connect.broker.kafka.batches.decompression import BATCH_BYTES_MAX
from streams.connect.broker.kafka.batches.record_set import keep_record_sets
from streams.core import kernels
from streams.core.errors import BatchUnreadable
from streams.core.types import OffsetOutOfRange, Prepare, RecordBatch, TopicPartition

SILENCE_MAX_S = 5.0
"""Longest pause between two answers about a partition within which its topic cannot be deleted,
recreated and refilled without a refused fetch."""


class FetchBuffer:
    """The answers of one aiokafka ``Fetcher``. Raises the client's errors."""

    def __init__(
        self,
        fetcher: Any,
        batch_bytes_max: int = BATCH_BYTES_MAX,
        *,
        prepare: Prepare | None = None,
        thread: OpeningThread | None = None,
    ) -> None:
        """``thread`` None: the caller of `drain` opens all answers."""
        keep_record_sets()
        self._fetcher = fetcher
        self._batch_bytes_max = batch_bytes_max
        self._prepare = prepare
        self._thread = thread
        self._unread: dict[TopicPartition, UnreadAnswer] = {}
        self._told: set[TopicPartition] = set()
        self._answered: dict[TopicPartition, float] = {}
        self._broken: set[TopicPartition] = set()
        self._fetch = fetcher._proc_fetch_request
        fetcher._proc_fetch_request = self._fetch_and_stamp

    def close(self) -> None:
        if self._thread is not None:
            self._thread.close()

    def forget_all(self) -> None:
        self._unread.clear()
        self._told.clear()
        self._answered.clear()
        self._broken.clear()

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self._told.discard(tp)
        self._unread.pop(tp, None)
        self._fetcher.seek_to(tp, offset)

    def position(self, tp: TopicPartition) -> int | None:
        """Of the next record to return; None: that of the client."""
        answer = self._unread.get(tp)
        return None if answer is None else answer.position

    def answered_at(self, tp: TopicPartition) -> float | None:
        """Monotonic time; None before the first answer."""
        return self._answered.get(tp)

    def drain(
        self, passed_over: AbstractSet[TopicPartition], max_records: int
    ) -> dict[TopicPartition, RecordBatch]:
        """What is open, and what the caller's thread opens. Partitions in ``passed_over`` keep their answers.

        Raises `OffsetOutOfRange` and `BatchUnreadable` once per seek, and only where no record was read:
        positions of returned records have moved."""
        passed_over = passed_over | self._told
        self._tell_errors(passed_over)
        batches: dict[TopicPartition, RecordBatch] = {}
        while not batches:
            self._take_answers(passed_over)
            batches = self._read_all(passed_over, max_records)
            # The next answers may be there before the end of the last ones is read: none wakes a waiter.
            if not self._take_answers(passed_over):
                break
        self._open_ahead(passed_over, max_records)
        return batches

    def _read_all(
        self, passed_over: AbstractSet[TopicPartition], room: int
    ) -> dict[TopicPartition, RecordBatch]:
        batches: dict[TopicPartition, RecordBatch] = {}
        for tp, answer in list(self._unread.items()):
            if room == 0 or tp in passed_over:
                continue
            try:
                batch = None
                if not batches or answer.size_ahead <= room:
                    batch = self._read(answer, room)
            except BatchUnreadable:
                # The answer stays until a seek, as one with OFFSET_OUT_OF_RANGE does in the client.
                if batches:
                    continue
                self._told.add(tp)
                raise
            if batch is not None:
                batches[tp] = batch
                room -= len(batch)
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

    def _take_answers(self, passed_over: AbstractSet[TopicPartition]) -> bool:
        """Take the client's answers, once all earlier ones are read. The client goes on behind them. False:
        there was none to take."""
        if not self._unread.keys() <= passed_over:
            return False
        taken = False
        for client_tp, found in list(self._fetcher._records.items()):
            tp = TopicPartition(*client_tp)
            if type(found) is not FetchResult or tp in passed_over or tp in self._unread:
                continue
            if not found.check_assignment(tp):
                self._drop(tp)
                continue
            self._unread[tp] = self._answer(tp, found._partition_records, found._assignment)
            taken = True
        return taken

    def _answer(self, tp: TopicPartition, source: Any, assignment: Any) -> UnreadAnswer:
        columns = ColumnFetch(
            *(tp, source, self._batch_bytes_max),
            framing=kernels.active is not None,
            unmarked=True,
        )
        continued = tp not in self._broken
        self._broken.discard(tp)
        size = source._records.size_in_bytes()
        answer = UnreadAnswer(tp, columns, assignment, size, continued=continued)
        end = source._records.end_offset(answer.position)
        if end > answer.position:
            assignment.state_value(tp).consumed_to(end)
            answer.fetched_from = end
            self._drop(tp)
        return answer

    def _read(self, answer: UnreadAnswer, room: int) -> RecordBatch | None:
        """None: the answer is stale, is not open yet, or moves no position."""
        tp = answer.tp
        if not answer.assignment.active:
            del self._unread[tp]
            return None
        if answer.ahead is None and self._thread is not None and self._thread.opens(answer):
            return None
        cut = answer.take(room, self._prepare)
        if cut is None:
            return None
        batch: RecordBatch = cut.batch
        moved = batch.end > batch.start
        if moved:
            batch.continued, answer.continued = answer.continued, True
        del self._unread[tp]
        if len(batch) > room:  # opened for a larger one
            batch = batch.head(room)
            if self._prepare is not None:
                self._prepare(batch)
            self._fetcher.seek_to(tp, batch.end)
        elif cut.more:  # behind the others
            self._unread[tp] = answer
        else:
            self._finish(answer)
        return batch if moved else None

    def _finish(self, answer: UnreadAnswer) -> None:
        """The client goes on at the end of what was read."""
        tp = answer.tp
        if not answer.continued:
            self._broken.add(tp)  # no batch has told it
        if answer.fetched_from is None:
            answer.assignment.state_value(tp).consumed_to(answer.position)
            self._drop(tp)
        elif answer.fetched_from != answer.position:
            self._fetcher.seek_to(tp, answer.position)

    def _open_ahead(self, passed_over: AbstractSet[TopicPartition], max_records: int) -> None:
        if self._thread is None:
            return
        answers = [answer for tp, answer in self._unread.items() if tp not in passed_over]
        for begun in self._thread.begin(answers, max_records, self._prepare):
            begun.add_done_callback(partial(self._wake, asyncio.get_running_loop()))

    def _wake(self, loop: asyncio.AbstractEventLoop, _: object) -> None:
        """Called in any thread."""
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(self._wake_waiters)

    def _wake_waiters(self) -> None:
        for waiter in list(self._fetcher._fetch_waiters):
            self._fetcher._notify(waiter)

    def _drop(self, tp: TopicPartition) -> None:
        del self._fetcher._records[tp]
        self._fetcher._notify(self._fetcher._wait_consume_future)

    def _tell_errors(self, passed_over: AbstractSet[TopicPartition]) -> None:
        """Raise the client's error about a partition, once all before it is read."""
        for client_tp, answer in list(self._fetcher._records.items()):
            tp = TopicPartition(*client_tp)
            if type(answer) is not FetchResult and tp not in passed_over and tp not in self._unread:
                self._tell(tp, answer._error)

    def _tell(self, tp: TopicPartition, error: Exception) -> None:
        # An offset error in the buffer keeps the client from fetching until a seek. Without a
        # position a seek is pending.
        if isinstance(error, NoOffsetForPartitionError):
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
            if now - self._answered.get(tp, now) > SILENCE_MAX_S:
                self._broken.add(tp)
            self._answered[tp] = now
        return bool(woken)
