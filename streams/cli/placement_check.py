"""What `dia doctor` says of producers: whether keys lie in the partitions that murmur2 names."""

from __future__ import annotations

import asyncio

from streams.cli.finding import Finding, Level
from streams.connect.broker.opened import opened
from streams.core.settings import Settings
from streams.core.topics.topology import Topology

TIMEOUT_S = 5.0


async def examine(settings: Settings, topology: Topology) -> list[Finding]:
    """One finding a source topic whose newest records have keys of other partitions. Nothing
    without Kafka, or where it does not answer: other checks say so."""
    from streams.cli.kafka import broker_of
    from streams.core.errors import BrokerUnavailable, UnknownTopic
    from streams.operate.audit.placement import ADVICE, sample
    from streams.operate.shed.shed_desk import partitions_of

    if not settings.kafka_bootstrap:
        return []
    found = []
    try:
        async with asyncio.timeout(TIMEOUT_S):
            broker = broker_of(settings)
            async with opened(broker.reader()) as reader:
                for topic in sorted({found.topic for found in topology.read}):
                    partitions = len(await partitions_of(broker, topic))
                    if wrong := await sample(reader, topic, partitions):
                        detail = (
                            f"{topic}: {sum(wrong.values())} keys of the newest records in "
                            f"partitions {sorted(wrong)} belong into others: {ADVICE}"
                        )
                        found.append(Finding("keys", Level.WARNING, detail, "dia audit --deep"))
    except (BrokerUnavailable, UnknownTopic, TimeoutError):
        return found
    return found
