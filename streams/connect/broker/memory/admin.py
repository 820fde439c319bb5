from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from streams.connect.broker.memory.cluster import Cluster, MemoryTopic
from streams.connect.broker.memory.faults import COORDINATOR_REFUSALS
from streams.connect.broker.memory.log import Log
from streams.connect.broker.memory.reader import ANSWER_TIMEOUT_S, ASK_AGAIN_S
from streams.core.errors import BrokerUnavailable, RefusedBySafety, UnknownTopic
from streams.core.types import (
    CommittedOffset,
    GroupDescription,
    PartitionReplicas,
    TopicConfig,
    TopicPartition,
)


class MemoryAdmin:
    """`Admin` on a `Cluster`."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def describe_topics(self) -> dict[str, TopicConfig]:
        await self._cluster.call("admin")
        return {
            name: TopicConfig(name, len(t.logs), t.replication_factor, dict(t.config))
            for name, t in sorted(self._cluster.topics.items())
        }

    async def describe_replicas(self, topic: str) -> dict[int, PartitionReplicas]:
        await self._cluster.call("admin")
        found = self._topic(topic)
        nodes = tuple(range(found.replication_factor))
        return {number: PartitionReplicas(0, nodes, nodes) for number in range(len(found.logs))}

    async def create_topics(self, topics: Sequence[TopicConfig]) -> None:
        await self._cluster.call("admin")
        for topic in topics:
            if topic.name not in self._cluster.topics:
                logs = [Log(TopicPartition(topic.name, n)) for n in range(topic.partitions)]
                # -1 asks for the default, which is one replica on one broker
                self._cluster.topics[topic.name] = MemoryTopic(
                    logs, max(1, topic.replication_factor), dict(topic.config)
                )
                self._rebalance_subscribers(topic.name)

    async def delete_topics(self, names: Sequence[str]) -> None:
        await self._cluster.call("admin")
        for name in names:
            if self._cluster.topics.pop(name, None) is not None:
                for group in self._cluster.groups.values():
                    group.offsets = {tp: o for tp, o in group.offsets.items() if tp.topic != name}
                self._rebalance_subscribers(name)

    async def create_partitions(self, totals: Mapping[str, int]) -> None:
        await self._cluster.call("admin")
        for name, total in totals.items():
            logs = self._topic(name).logs
            if total < len(logs):
                raise RefusedBySafety(
                    f"topic {name} has {len(logs)} partitions and cannot shrink to {total}. "
                    "Declare at least as many as it has."
                )
            if total > len(logs):
                logs.extend(Log(TopicPartition(name, n)) for n in range(len(logs), total))
                self._rebalance_subscribers(name)

    async def alter_config(self, topic: str, config: Mapping[str, str]) -> None:
        await self._cluster.call("admin")
        self._topic(topic).config.update(config)

    async def delete_records(self, before: Mapping[TopicPartition, int]) -> None:
        await self._cluster.call("admin")
        for tp, offset in before.items():
            self._cluster.trim(tp, offset)
        self._cluster.signal.notify()

    async def committed(
        self, group: str, partitions: Iterable[TopicPartition], *, stable: bool = True
    ) -> dict[TopicPartition, CommittedOffset]:
        asked, clock = list(partitions), self._cluster.clock
        deadline_s = clock.monotonic() + ANSWER_TIMEOUT_S
        await self._cluster.call("admin")
        while code := self._cluster.refusal(group, asked, stable=stable):
            if not COORDINATOR_REFUSALS[code] or clock.monotonic() >= deadline_s:
                raise BrokerUnavailable(f"read offsets of {group}: {code}")
            await clock.sleep(ASK_AGAIN_S)
            await self._cluster.call("admin")
        offsets = self._cluster.group(group).offsets
        return {tp: offsets[tp] for tp in asked if tp in offsets}

    async def describe_group(self, group: str) -> GroupDescription:
        await self._cluster.call("admin")
        if group not in self._cluster.groups:
            return GroupDescription(group, stable=True, members=())
        return self._cluster.groups[group].description(group)

    async def cluster_id(self) -> str:
        await self._cluster.call("admin")
        return self._cluster.cluster_id

    async def close(self) -> None:
        return None

    def _topic(self, name: str) -> MemoryTopic:
        if name not in self._cluster.topics:
            raise UnknownTopic(f"topic {name} does not exist. Run `dia topics apply`.")
        return self._cluster.topics[name]

    def _rebalance_subscribers(self, topic: str) -> None:
        for group in self._cluster.groups.values():
            if topic in group.subscribed():
                group.rebalance()
        self._cluster.signal.notify()
