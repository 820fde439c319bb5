"""Everything about one topic: its settings, partitions, and the groups that read it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from streams.core.errors import UnknownTopic
from streams.core.settings import Settings
from streams.core.topics.topology import Topology
from streams.core.types import Admin, LogReader
from streams.operate.topics.declared_topics import declared_topics
from streams.operate.topics.topic_descriptions import (
    DescribedPartition,
    SettingLine,
    described,
    settings_of,
)
from streams.operate.topics.topics import plan


@dataclass(frozen=True, slots=True)
class TopicSheet:
    topic: str
    settings: Sequence[SettingLine]
    partitions: Sequence[DescribedPartition]

    def fields(self) -> dict[str, Any]:
        """As JSON, the same for `dia topics describe --json` and the console."""
        return {
            "topic": self.topic,
            "settings": [one._asdict() for one in self.settings],
            "partitions": [_partition(one) for one in self.partitions],
        }


async def sheet_of(
    admin: Admin, reader: LogReader, settings: Settings, topology: Topology, topic: str
) -> TopicSheet:
    """Raises `UnknownTopic` and `BrokerUnavailable`."""
    declared = declared_topics(settings, topology)
    present = await admin.describe_topics()
    if topic not in present:
        raise UnknownTopic(f"topic {topic} does not exist. `dia topics list --all` lists them.")
    wanted = plan(declared.topology, declared.topics, present).wanted.get(topic)
    partitions = await described(admin, reader, topology, topic)
    return TopicSheet(topic, [*settings_of(present[topic], wanted)], partitions)


def _partition(one: DescribedPartition) -> dict[str, Any]:
    return {
        "partition": one.tp.partition,
        **one.replicas._asdict(),
        "begin": one.bounds.begin,
        "stable_end": one.bounds.stable_end,
        "end": one.high_watermark,
        "groups": [lag._asdict() for lag in one.groups],
    }
