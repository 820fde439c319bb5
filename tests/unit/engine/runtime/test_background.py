"""Sends of background tasks in an installation of several regions."""

from __future__ import annotations

import asyncio

import pytest

from streams import App
from streams.connect.broker.memory.broker import MemoryBroker
from streams.core.clock import VirtualClock
from streams.core.process.background_task import BackgroundTask
from streams.core.records.headers import MIRRORED
from streams.core.topics.current_stream import current
from streams.core.types import TopicConfig, TopicPartition
from streams.engine.runtime.background import Background

ORDERS = App("acme").topic("orders", partitions=1)


async def told():
    await current.get().send(ORDERS, "k", b"v", headers={"a": b"b"})


@pytest.fixture
async def broker():
    made = MemoryBroker(VirtualClock())
    admin = await made.admin()
    await admin.create_topics([TopicConfig("orders", 1, 1, {})])
    await admin.close()
    return made


def sent(broker):
    (headers,) = broker.log(TopicPartition("orders", 0)).read_committed(0, 10).headers
    return headers


@pytest.mark.parametrize(("region", "marks"), [("", ()), ("east", ((MIRRORED, b""),))])
async def test_what_a_task_sends_stays_in_its_region(broker, region, marks):
    """The task runs in each region: by the mirrors, each region would have the records of all."""
    task = BackgroundTask(name="told", run=told)
    await asyncio.wait_for(Background(broker, VirtualClock(), [task], region).run(), 10)
    assert sent(broker) == (("a", b"b"), *marks)


async def test_what_a_command_or_page_sends_comes_to_each_region(broker):
    """A person asks for it once, in one region."""
    background = Background(broker, VirtualClock(), (), "east")
    async with background.open():
        await told()
        assert sent(broker) == (("a", b"b"),)
        await background.send(ORDERS, "k", b"v")  # as a page does
    found = broker.log(TopicPartition("orders", 0)).read_committed(1, 10).headers
    assert [*found] == [()]
