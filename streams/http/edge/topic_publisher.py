"""Publishes the events of one topic to the log, exactly once and in order (docs/protocols/edge.md).

1. **L1** The records of a request become a batch with this run's name and a number, and wait.
2. **L2** While the publisher is *direct* (connected, empty spool), one transaction writes all
   waiting batches and commits the number after the last. Then the edge answers their requests.
3. **L3** A transaction with an unknown outcome returns its batches to the front of the queue and
   ends the direct state: waiting batches are appended to the spool, synced, and then answered.
4. **L4** A connection under a name fences all other producers of that name, then reads its
   committed number: batches below it are in the log. A new run first connects under the name of
   the run before.
5. **L5** The spool is shipped, oldest first, as in L2, each batch under the name that it carries,
   and deleted afterwards.
6. **L6** The publisher is direct again when the spool is empty, no write to it is pending, and it
   is connected under its own name.

Law: an answered batch is eventually in the log exactly once. The batches of one folder are in the
order of their requests. A refused or unanswered batch is in the log at most once.
tests/properties/test_lane_laws.py crashes edges between any two steps and copies live folders."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple, TypeAlias

import structlog

from streams.connect.access.fair_share import FairShare, within_share
from streams.connect.access.refusals import NotStored, Overloaded
from streams.core.clock import Clock
from streams.core.errors import DiaError, ProducerFenced
from streams.core.records.headers import UNNAMED_VERSION
from streams.core.resilience.backoff import Backoff
from streams.core.telemetry.http_metrics import EdgeMetrics
from streams.http.edge.edge_run import EdgeRun
from streams.http.edge.exchange import Kept
from streams.http.edge.request_batch import RequestBatch, bytes_by_key
from streams.http.edge.shipment import Shipper
from streams.http.edge.spool import Spool

log = structlog.get_logger(__name__)

Disk: TypeAlias = Callable[[Callable[[], Any]], Awaitable[Any]]
"""runs a blocking call outside the event loop"""

LINGER_S = 0.005
"""Of a first batch: a transaction costs the same for one batch as for many."""
BATCH_BYTES = 4 << 20
RECONNECT_MIN_S = 0.2
RECONNECT_MAX_S = 5.0
FULL_RETRY_S = 5.0
"""Retry-After of a full spool: the broker is unavailable."""
BUSY_RETRY_S = 1.0


class PublisherBounds(NamedTuple):
    """The disk may exceed its bound by what was in memory when the broker failed. A tenant has a
    fair share of both (fair_share.py)."""

    inflight_bytes: int
    spool_bytes: int


@dataclass(slots=True)
class _Waiting:
    block: RequestBatch
    kept: asyncio.Future[Kept]


class TopicPublisher:
    """``disk`` runs a blocking call of the spool in a thread."""

    def __init__(
        self,
        topic: str,
        *,
        shipper: Shipper,
        spool: Spool,
        run: EdgeRun,
        clock: Clock,
        metrics: EdgeMetrics,
        bounds: PublisherBounds,
        disk: Disk = asyncio.to_thread,
    ) -> None:
        self.topic = topic
        self.direct = False
        self._shipper = shipper
        self._spool = spool
        self._run = run
        self._clock = clock
        self._metrics = metrics
        metrics.spool_bytes.labels(topic).set(spool.size_bytes)
        self._bounds = bounds
        self._disk = disk
        self._disk_turn = asyncio.Lock()
        self._waiting: deque[_Waiting] = deque()
        self._inflight: FairShare[bytes] = FairShare(bounds.inflight_bytes)
        self._turned = asyncio.Event()
        self._spooling = False
        self._stopped = False
        self._name = ""
        """of the current connection; "" while disconnected"""
        self._shipped: dict[str, int] = {}
        """by name: batches below this number are in the log"""

    @property
    def spool_bytes(self) -> int:
        return self._spool.size_bytes

    async def keep(
        self,
        keys: list[bytes],
        values: list[bytes],
        traceparent: bytes = b"",
        version: int = UNNAMED_VERSION,
    ) -> Kept:
        """L1: returns where all the records are, once they are durable. Raises `Overloaded` before
        any change, and `NotStored` when the outcome is unknown."""
        sizes = bytes_by_key(keys, values)
        self._refuse_overload(sizes)
        block = RequestBatch(self._run.name, self._run.take(), keys, values, traceparent, version)
        kept: asyncio.Future[Kept] = asyncio.get_running_loop().create_future()
        kept.add_done_callback(partial(self._left, sizes))
        self._waiting.append(_Waiting(block, kept))
        self._turned.set()
        # A client that disconnects does not withdraw its batch.
        return await asyncio.shield(kept)

    async def run(self) -> None:
        """Store batches until cancelled; then answer waiting ones with `NotStored`."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._ship(), name=f"ship-{self.topic}")
                tasks.create_task(self._spool_what_waits(), name=f"spool-{self.topic}")
        finally:
            self._stopped = True
            await self._shipper.close()
            _fail([*self._waiting], NotStored("the edge is stopping"))
            self._waiting.clear()

    def _refuse_overload(self, sizes: Mapping[bytes, int]) -> None:
        """Reserve memory for the records; ``sizes`` are their bytes by tenant."""
        if self._stopped:
            raise Overloaded("the edge is stopping", retry_after_s=FULL_RETRY_S)
        if not self.direct and not self._spool_takes(sizes):
            raise Overloaded(
                f"{self.topic}: the broker is unavailable and the spool is full for this tenant",
                retry_after_s=FULL_RETRY_S,
            )
        if not self._inflight.take(sizes):
            raise Overloaded(
                f"{self.topic}: too many bytes of this tenant are in flight",
                retry_after_s=BUSY_RETRY_S,
            )

    def _spool_takes(self, sizes: Mapping[bytes, int]) -> bool:
        """Whether the spool has room for these records and all records in flight."""
        spooled = self.spool_bytes + self._inflight.taken + sum(sizes.values())
        left = self._bounds.spool_bytes - spooled
        return all(
            within_share(self._spool.held[key] + self._inflight.held(key) + size, left)
            for key, size in sizes.items()
        )

    def _left(self, sizes: Mapping[bytes, int], kept: asyncio.Future[Kept]) -> None:
        self._inflight.give(sizes)
        if not kept.cancelled():
            kept.exception()  # marks the error as retrieved: the client may have disconnected

    async def _ship(self) -> None:
        backoff = Backoff(self._clock, RECONNECT_MIN_S, RECONNECT_MAX_S)
        while True:
            try:
                if self._run.before and self._run.before not in self._shipped:
                    await self._become(self._run.before)
                while True:
                    await (self._ship_waiting() if self.direct else self._ship_spooled())
                    backoff.reset()
            except (DiaError, OSError) as error:
                self._interrupted(error)
            await backoff.pause()

    def _interrupted(self, error: Exception) -> None:
        if isinstance(error, ProducerFenced) and self._name == self._run.name:
            log.warning("edge_fenced", topic=self.topic, name=self._name)
        self.direct = False
        self._name = ""
        self._turned.set()
        code = error.code if isinstance(error, DiaError) else "spool_unreadable"
        self._metrics.interruptions.labels(self.topic, code).inc()
        log.warning("edge_topic_interrupted", topic=self.topic, code=code, why=str(error))

    async def _become(self, name: str) -> None:
        """L4, unless connected under ``name``."""
        if name == self._name:
            return
        self._name = ""
        if name == self._run.name and name not in self._shipped:
            await self._at_disk(self._run.claim)
        found = await self._shipper.connect(name)
        self._name = name
        self._shipped[name] = max(self._shipped.get(name, 0), found or 0)

    async def _ship_waiting(self) -> None:
        """L2, and L3 when it fails."""
        await self._anything_waits(direct=True)
        await self._clock.sleep(LINGER_S)
        batch = self._take()
        try:
            await self._shipper.ship([entry.block for entry in batch])
        except BaseException:
            self._waiting.extendleft(reversed(batch))
            raise
        self._shipped[self._run.name] = batch[-1].block.number + 1
        _answer(batch, "log")

    async def _ship_spooled(self) -> None:
        """L5 and L6."""
        blocks, mark = await self._at_disk(partial(self._spool.read, BATCH_BYTES))
        if not blocks:
            await self._become(self._run.name)
            # Batches of unknown outcome may still wait for the disk: check again.
            if not self._waiting and not self._spooling and self._spool.is_empty:
                self.direct = True
                self._turned.set()
                log.info("edge_topic_direct", topic=self.topic)
            else:
                await asyncio.sleep(0)
            return
        for name, named in groupby(blocks, attrgetter("edge")):
            await self._become(name)
            fresh = [block for block in named if block.number >= self._shipped[name]]
            if fresh:
                await self._shipper.ship(fresh)
                self._shipped[name] = fresh[-1].number + 1
        await self._at_disk(partial(self._spool.forget, mark))

    async def _spool_what_waits(self) -> None:
        """The second half of L3."""
        while True:
            await self._anything_waits(direct=False)
            batch = self._take()
            self._spooling = True
            try:
                blocks = [entry.block for entry in batch]
                await self._at_disk(partial(self._spool.append, blocks))
            except OSError as error:
                log.warning("edge_spool_refused", topic=self.topic, why=str(error))
                _fail(batch, NotStored(f"the spool cannot be written: {error.strerror}"))
            except asyncio.CancelledError:
                _fail(batch, NotStored("the edge is stopping"))
                raise
            else:
                _answer(batch, "spool")
            finally:
                self._spooling = False

    async def _at_disk(self, call: Callable[[], Any]) -> Any:
        """Serializes the calls of the spool."""
        async with self._disk_turn:
            found = await self._disk(call)
            self._metrics.spool_bytes.labels(self.topic).set(self._spool.size_bytes)
        return found

    async def _anything_waits(self, *, direct: bool) -> None:
        """Wait until batches wait and the publisher's state is ``direct``."""
        while not self._waiting or self.direct is not direct:
            self._turned.clear()
            await self._turned.wait()

    def _take(self) -> list[_Waiting]:
        """The first `BATCH_BYTES` of the queue, at least one batch."""
        batch: list[_Waiting] = []
        size_bytes = 0
        while self._waiting and (not batch or size_bytes < BATCH_BYTES):
            batch.append(self._waiting.popleft())
            size_bytes += batch[-1].block.size_bytes
        return batch


def _answer(batch: Sequence[_Waiting], where: Kept) -> None:
    for entry in batch:
        entry.kept.set_result(where)


def _fail(batch: Sequence[_Waiting], error: Exception) -> None:
    for entry in batch:
        entry.kept.set_exception(error)
