"""Partition counts of topics, with a grace period for new topics."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import aiokafka.errors as client_errors
from aiokafka.protocol.metadata import MetadataRequest

from streams.connect.broker.kafka.requests.codes import raise_for
from streams.connect.broker.kafka.requests.patience import RETRY_S
from streams.core.errors import BrokerUnavailable, UnknownTopic

UNKNOWN_AFTER_S = 1.0
"""A new topic spreads within milliseconds; aiokafka itself waits the whole request timeout."""


async def partitions_of(client: Any, topic: str) -> int:
    """Queries the broker where ``client``, an `AIOKafkaClient`, has none.

    Raises `UnknownTopic`, `BrokerUnavailable`, and the client's error for another code (not
    authorised, no leader yet)."""
    known = client.cluster.partitions_for_topic(topic)
    if known:
        return len(known)
    client.add_topic(topic)
    deadline_s = time.monotonic() + UNKNOWN_AFTER_S
    while True:
        answered = await client.force_metadata_update()
        known = client.cluster.partitions_for_topic(topic)
        if known:
            return len(known)
        if time.monotonic() > deadline_s:
            break
        await asyncio.sleep(RETRY_S)
    if not answered:
        raise BrokerUnavailable(f"no broker answers about {topic}. `dia doctor` checks the broker.")
    await _refuse(client, topic)
    raise UnknownTopic(f"topic {topic} does not exist. Run `dia topics apply`.")


async def _refuse(client: Any, topic: str) -> None:
    """Raise the broker's code for ``topic``, which the client drops; return where the topic is
    unknown."""
    request = MetadataRequest([topic], allow_auto_topic_creation=False)
    answer = await client.send(client.get_random_node(), request)
    for code, name, *_ in answer.topics:
        if name == topic and code != client_errors.UnknownTopicOrPartitionError.errno:
            raise_for(code, topic)
