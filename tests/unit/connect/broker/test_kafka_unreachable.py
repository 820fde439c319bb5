"""What the Kafka clients do when nobody listens at the address."""

from __future__ import annotations

import asyncio

import pytest

from streams.connect.broker.kafka.broker import KafkaBroker
from streams.core.errors import BrokerUnavailable

NOBODY = "127.0.0.1:1"


class Deaf:
    """A listener that is never told anything."""

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
        lambda broker: broker.consumer("group", ["topic"], "one").start(Deaf()),
        lambda broker: broker.transactional_producer("id").start(),
        lambda broker: broker.plain_producer().start(),
        lambda broker: broker.reader(),
        lambda broker: broker.admin(),
    ],
    ids=["consumer", "transactional producer", "plain producer", "reader", "admin"],
)
async def test_starting_names_the_address_and_leaves_nothing_behind(broker, connect):
    """A command must say where it looked; a worker that retries must not collect clients."""
    before = asyncio.all_tasks()
    with pytest.raises(BrokerUnavailable, match=NOBODY):
        await connect(broker)
    assert asyncio.all_tasks() <= before


async def test_closing_what_never_started_is_harmless(broker):
    """Clean-up runs whatever happened before."""
    await broker.consumer("group", ["topic"], "one").stop()
    await broker.transactional_producer("id").close()
    await broker.plain_producer().close()
