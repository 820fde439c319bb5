"""The end of an aiokafka client in a task that is cancelled meanwhile."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka.client import AIOKafkaClient

from streams.connect.broker.kafka.tasks import end_client


@pytest.fixture
async def client():
    """A client with its own task, and without a broker."""
    made = AIOKafkaClient(bootstrap_servers="127.0.0.1:9")
    made._sync_task = asyncio.create_task(asyncio.Event().wait())
    await asyncio.sleep(0)
    yield made
    await made.close()


async def test_a_cancellation_while_a_client_closes_is_not_lost(client):
    """A partition that is revoked while it opens: its task went on, the member waited for its end,
    sent no heartbeat and never came back to its group."""
    ending = asyncio.create_task(end_client(client))
    await asyncio.sleep(0)
    assert client._sync_task.cancelling()
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert client._sync_task is None, "the client is closed all the same"


async def test_an_end_without_a_cancellation_ends(client):
    """Also in a task that was cancelled before, and now cleans up."""

    async def cleans_up():
        try:
            await asyncio.Event().wait()
        finally:
            await end_client(client)
            ended.append(client._sync_task)

    ended = []
    task = asyncio.create_task(cleans_up())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == [None]
