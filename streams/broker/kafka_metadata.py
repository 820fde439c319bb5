"""Whether a topic exists: asked with patience enough for one that was just created."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from streams.errors import BrokerUnavailable, UnknownTopic

UNKNOWN_AFTER_S = 1.0
"""A new topic spreads within milliseconds; aiokafka itself would wait the request timeout out."""
RETRY_S = 0.05


async def partitions_of(client: Any, topic: str) -> int:
    """How many partitions ``topic`` has, asking the broker only while the client does not know.

    ``client`` is an `AIOKafkaClient`. Raises `UnknownTopic`, and `BrokerUnavailable` where no
    broker answers.
    """
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
    raise UnknownTopic(f"topic {topic} does not exist. Run `dia topics apply`.")
