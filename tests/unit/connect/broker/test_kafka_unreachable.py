"""Kafka clients at an address without a listener."""

from __future__ import annotations

import asyncio

import pytest

from streams.connect.broker.kafka.broker import KafkaBroker
from streams.core.errors import BrokerUnavailable

NOBODY = "127.0.0.1:1"


class UnusedListener:
    """A listener that gets no callback."""

    async def on_revoked(self, partitions):
        raise AssertionError

    async def on_assigned(self, partitions):
        raise AssertionError


@pytest.fixture
def broker():
    return KafkaBroker(NOBODY, request_timeout_s=2.0)


@pytest.mark.parametrize(
    "connect",
    [
        lambda broker: broker.consumer("group", ["topic"], "one").start(UnusedListener()),
        lambda broker: broker.transactional_producer("id").start(),
        lambda broker: broker.plain_producer().start(),
        lambda broker: broker.reader(),
        lambda broker: broker.admin(),
    ],
    ids=["consumer", "transactional producer", "plain producer", "reader", "admin"],
)
async def test_starting_names_the_address_and_leaves_nothing_behind(broker, connect):
    """A command must name the address, and a worker that retries must not accumulate clients."""
    before = asyncio.all_tasks()
    with pytest.raises(BrokerUnavailable, match=NOBODY) as raised:
        await connect(broker)
    assert str(raised.value).startswith("cannot reach Kafka")
    assert "AddressFamily" not in str(raised.value)
    assert asyncio.all_tasks() <= before


async def test_closing_a_client_that_never_started_is_harmless(broker):
    """Clean-up runs after every failure."""
    await broker.consumer("group", ["topic"], "one").stop()
    await broker.transactional_producer("id").close()
    await broker.plain_producer().close()
