"""Selects the partition of a command about state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streams.connect.broker.opened import opened

if TYPE_CHECKING:
    from streams.cli.invocation import Invocation
    from streams.core.topics.topic import Topic
    from streams.core.types import Broker


def source_of(run: Invocation, group: str, topic: str) -> Topic:
    """Raises `UsageError` unless the group consumes the topic."""
    from streams.core.errors import UsageError

    sources = [*run.topology.sources()]
    consumed = {source.name: source for named, source in sources if named == group}
    if topic not in consumed:
        known = ", ".join(f"{named}: {source.name}" for named, source in sources)
        raise UsageError(f"group {group} does not consume {topic}. Consumed are {known}.")
    return consumed[topic]


async def changelogs(run: Invocation, broker: Broker) -> list[tuple[str, str, Any]]:
    """Group, source topic and partition of every changelog that exists."""
    from streams.core.types import TopicPartition

    async with opened(broker.admin()) as admin:
        topics = await admin.describe_topics()
    return [
        (group, source.name, TopicPartition(name, partition))
        for group, source in run.topology.sources()
        if (name := source.changelog(group)) in topics
        for partition in range(topics[name].partitions)
    ]
