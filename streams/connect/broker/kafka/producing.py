"""What both producers share: compressing, sending without waiting, ending without flushing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from aiokafka import codec
from aiokafka.errors import ProducerClosed

from streams.connect.broker.kafka.tasks import end_client

FAST_LEVEL = 1


def use_fast_lz4() -> None:
    """Compress lz4 batches of this process at `FAST_LEVEL`. Calling again changes nothing.

    aiokafka compresses lz4 at level 9, a search that costs 3.6 µs of CPU a 208-byte JSON record
    where level 1 costs 0.3 µs and 37 % more bytes: more than everything else a send does.
    Producers take no level, so the default argument of the one function they call is changed.
    """
    codec.lz4_encode.__defaults__ = (FAST_LEVEL,)


Result = TypeVar("Result")


def quiet(result: Awaitable[Result]) -> asyncio.Future[Result]:
    """Run ``result`` now; a caller that drops it gets no complaint of the event loop."""
    task = asyncio.ensure_future(result)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task


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
    """Retrieve a failure that no caller awaits, so that the event loop does not report it."""
    if future.done() and not future.cancelled():
        future.exception()
