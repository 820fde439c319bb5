"""Sends of background tasks in an installation of several regions."""

from __future__ import annotations

import asyncio
from contextlib import suppress

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


class SlowedDay:
    """Its time of day goes by ``rate`` of its monotonic time, and may be set."""

    def __init__(self, rate):
        self.rate, self.day_s, self.slept_s = rate, 1_790_000_000.0, 0.0

    def now_ms(self):
        return int(self.day_s * 1000)

    def monotonic(self):
        return self.slept_s

    async def sleep(self, delay_s):
        self.slept_s += delay_s
        self.day_s += delay_s * self.rate
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("rate", "set_back_s", "days"),
    [(1 - 5e-6, 0, 3), (1 + 5e-6, 0, 3), (1.0, 1800, 3), (1.0, 400 * 86_400, 3)],
    ids=["slow", "fast", "set back by half an hour", "was far ahead"],
)
async def test_a_minute_of_a_crontab_is_run_once(rate, set_back_s, days):
    """Five millionths between two clocks are common. A daily task ran two or three times a day: first a moment
    too early, and then at its minute."""
    clock, ran = SlowedDay(rate), []

    async def daily():
        ran.append(clock.day_s)
        if len(ran) == 1:
            clock.day_s -= set_back_s
        if len(ran) > days:
            raise asyncio.CancelledError

    task = BackgroundTask(name="daily", run=daily, cron="0 12 * * *")
    with suppress(asyncio.CancelledError):
        await Background(None, clock, [task])._run(task)
    assert [round(at_s) % 86_400 for at_s in ran] == [43_200] * (days + 1)
    assert len({round(at_s) for at_s in ran}) == days + 1
