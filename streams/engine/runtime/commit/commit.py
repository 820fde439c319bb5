"""C2 to C4 of a commit (docs/protocols/commit.md).

 C1  fold records in memory                                       (runtime/partition/partition.py)
 C2  begin the transaction; send dead letters, outputs and the changelog delta
 C3  await all sends; the source offset joins; commit: only here the work becomes true
 C4  write the same bytes and the new offsets to the store in one batch
 C5  hand rows and effects to their targets                       (runtime/commit/handover.py)
 C6  delete acknowledged entries in a later commit                (the tables)

After any error, `CommitInDoubt` or `ProducerFenced` drops the partition, and A1 to A5 restore it
from the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from streams.core.clock import Clock
from streams.core.errors import CommitInDoubt, DiaError, PartitionRestart
from streams.core.resilience.deadline import Deadline, DeadlinePassed
from streams.core.telemetry.metrics import Metrics
from streams.core.tracing.tracer import UNTRACED_COMMIT, CommitSpan
from streams.core.types import OutboundRecord, TransactionalProducer
from streams.engine.runtime.offsets.commit_mark import committed_offset
from streams.engine.runtime.partition.partition import Partition, Prepared
from streams.engine.runtime.poison.quarantine_register import quarantine_group


async def commit(
    partition: Partition,
    prepared: Prepared,
    producer: TransactionalProducer,
    clock: Clock,
    metrics: Metrics,
    timeout_s: float,
    span: CommitSpan = UNTRACED_COMMIT,
) -> None:
    """Run C2 to C4 within ``timeout_s``. Raises `PartitionRestart` errors."""
    deadline = Deadline(clock, timeout_s)
    timer = _StepTimer(clock, metrics, span)
    try:
        sent = await deadline.wait(_send(partition, prepared, producer))  # C2
        timer.done("C2")
        offsets = await deadline.wait(_commit(partition, prepared, producer, sent))  # C3
        timer.done("C3")
    except DeadlinePassed as error:
        raise CommitInDoubt(
            f"a commit of {partition.tp} took longer than DIA_COMMIT_TIMEOUT_S={timeout_s:g}"
        ) from error
    except PartitionRestart:
        raise
    except DiaError as error:
        raise CommitInDoubt(f"a commit of {partition.tp} failed: {error}") from error
    entries = [entry for _, part in prepared.parts for entry in part]
    partition.state.applied(prepared.link, offsets[0], offsets[-1] + 1, entries)  # C4
    timer.done("C4")


async def _send(
    partition: Partition, prepared: Prepared, producer: TransactionalProducer
) -> list[Awaitable[Any]]:
    """The pending answers: one for all records, then the offset of each part."""
    await producer.begin()
    sent: list[Awaitable[Any]] = [await producer.send_many(prepared.records)]
    for data, _ in prepared.parts:
        sent.append(await producer.send(OutboundRecord(partition.state.changelog, None, data)))
    return sent


async def _commit(
    partition: Partition,
    prepared: Prepared,
    producer: TransactionalProducer,
    sent: list[Awaitable[Any]],
) -> list[int]:
    """Commit; the changelog offsets of the parts. All sends are awaited first: a client may commit
    a transaction in which a send failed."""
    _, *offsets = await asyncio.gather(*sent)
    if any(offset < 0 for offset in offsets):
        raise CommitInDoubt(f"a send of {partition.tp} was answered without an offset")
    link = prepared.link
    committed = committed_offset(link, offsets[0])
    group = partition.agent.group
    await producer.send_offsets({partition.tp: committed}, group)
    if prepared.quarantines is not None:
        word = {partition.tp: prepared.quarantines}
        await producer.send_offsets(word, quarantine_group(group))
    await producer.commit()
    return offsets


class _StepTimer:
    def __init__(self, clock: Clock, metrics: Metrics, span: CommitSpan) -> None:
        self._clock = clock
        self._metrics = metrics
        self._span = span
        self._since = clock.monotonic()

    def done(self, step: str) -> None:
        now = self._clock.monotonic()
        self._metrics.commit.seconds.labels(step).observe(now - self._since)
        self._since = now
        self._span.done(step)
