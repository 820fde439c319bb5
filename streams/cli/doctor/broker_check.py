"""Broker checks of `dia doctor`: differences of topics, and keys outside their murmur2
partition."""

from __future__ import annotations

import asyncio

from streams.cli.doctor.finding import DoctorFinding, FindingLevel
from streams.connect.broker.opened import opened
from streams.core.settings import Settings
from streams.core.topics.topology import Topology

TIMEOUT_S = 5.0
_SHOWN_MAX = 4


async def examine_topics(settings: Settings, topology: Topology) -> list[DoctorFinding]:
    """How the broker's topics differ from the declared ones. Empty without an address."""
    from streams.cli.clients import broker_of
    from streams.core.errors import BrokerUnavailable, RefusedBySafety
    from streams.operate.topics.declared_topics import declared_topics

    if not settings.kafka_bootstrap:
        return []
    declared = declared_topics(settings, topology)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            async with opened(broker_of(settings).admin()) as admin:
                planned = declared.against(await admin.describe_topics())
    except RefusedBySafety as error:
        return [DoctorFinding("topics", FindingLevel.FAILURE, str(error), "dia topics plan")]
    except (BrokerUnavailable, TimeoutError) as error:
        detail = f"not compared with the declared ones: {_why(error)}"
        return [DoctorFinding("topics", FindingLevel.UNREACHABLE, detail, "dia topics plan")]
    if planned.to_do:
        named = sorted({change.topic for change in planned.to_do})
        more = f" and {len(named) - _SHOWN_MAX} more" if len(named) > _SHOWN_MAX else ""
        detail = f"not as declared: {', '.join(named[:_SHOWN_MAX])}{more}"
        return [
            DoctorFinding(
                "topics", FindingLevel.WARNING, detail, "dia topics plan, then dia topics apply"
            )
        ]
    told = [f"{c.topic} {c.setting} {c.now}, declared {c.wanted}" for c in planned.changes]
    detail = f"{len(planned.wanted)} topics are there"
    return [DoctorFinding("topics", FindingLevel.OK, "; ".join([detail, *told]))]


async def examine_keys(settings: Settings, topology: Topology) -> list[DoctorFinding]:
    """One finding for each topic whose newest records have misplaced keys, and one where they could not be
    read. Empty without an address."""
    from streams.cli.clients import broker_of
    from streams.core.errors import BrokerUnavailable, UnknownTopic
    from streams.operate.audit.placement import ADVICE, sample
    from streams.operate.shed.shed_admin import partitions_of

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
                        found.append(
                            DoctorFinding("keys", FindingLevel.WARNING, detail, "dia audit --deep")
                        )
    except UnknownTopic:
        return found  # another check names it
    except (BrokerUnavailable, TimeoutError) as error:
        detail = f"the newest records of some topics were not looked at: {_why(error)}"
        return [*found, DoctorFinding("keys", FindingLevel.WARNING, detail, "dia audit --deep")]
    return found


def _why(error: Exception) -> str:
    return str(error) or f"Kafka gave no answer within {TIMEOUT_S:g} s"
