"""Ending a producer that has nothing left to say."""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka.errors import ProducerClosed

from streams.connect.broker.kafka.tasks import end_client


async def abandon(producer: Any) -> None:
    """End an `AIOKafkaProducer` without flushing, within `CLOSE_TIMEOUT_S`. Never raises."""
    producer._closed = True  # noqa: SLF001  # else its finalizer warns
    sender, accumulator = producer._sender, producer._message_accumulator  # noqa: SLF001
    await end_client(producer.client, sender, accumulator)
    unsent = [batch for batches in accumulator._batches.values() for batch in batches]  # noqa: SLF001
    unsent.extend(accumulator._pending_batches)  # noqa: SLF001
    accumulator.fail_all(ProducerClosed())
    for batch in unsent:
        _retrieve(batch.future)
        _retrieve(batch._drain_waiter)  # noqa: SLF001
    manager = producer._txn_manager  # noqa: SLF001
    if manager is not None and manager._transaction_waiter is not None:  # noqa: SLF001
        _retrieve(manager._transaction_waiter)  # noqa: SLF001


def _retrieve(future: asyncio.Future[Any]) -> None:
    """Look at a failure nobody waits for any more, so that the event loop does not report it."""
    if future.done() and not future.cancelled():
        future.exception()
