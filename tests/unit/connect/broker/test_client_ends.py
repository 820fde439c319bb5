"""Closing an aiokafka client in a task that is cancelled meanwhile."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka.client import AIOKafkaClient

from streams.connect.broker.kafka.tasks import end_client


@pytest.fixture
async def client():
    """A client with its own task and no broker."""
    made = AIOKafkaClient(bootstrap_servers="127.0.0.1:9")
    made._sync_task = asyncio.create_task(asyncio.Event().wait())
    await asyncio.sleep(0)
    yield made
    await made.close()


async def test_a_cancellation_while_a_client_closes_is_not_lost(client):
    """Otherwise the task of a revoked partition goes on, and the member waits for its end without
    heartbeats.
    """
    ending = asyncio.create_task(end_client(client))
    await asyncio.sleep(0)
    assert client._sync_task.cancelling()
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert client._sync_task is None, "the client must be closed despite the cancellation"


async def test_a_close_without_a_cancellation_completes(client):
    """This holds also in a task that was cancelled before and runs its clean-up."""

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
