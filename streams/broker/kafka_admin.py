"""Administration on aiokafka."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiokafka.errors as client
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.structs import TopicPartition as ClientPartition

from streams.broker.kafka_alter_config import IncrementalAlterConfigs
from streams.broker.kafka_connection import KafkaConnection
from streams.broker.kafka_errors import CLIENT_ERRORS, broker_error
from streams.broker.kafka_groups import describe_group
from streams.broker.kafka_tasks import end_client
from streams.errors import UnknownTopic
from streams.types import CommittedOffset, GroupDescription, TopicConfig, TopicPartition

SPREAD_TIMEOUT_S = 10.0
"""How long a created or deleted topic may take to show in every broker's metadata."""
SPREAD_POLL_S = 0.02
_SET_ON_TOPIC = 1
"""ConfigSource DYNAMIC_TOPIC_CONFIG of DescribeConfigs."""
_HIGH_WATERMARK = -1
"""DeleteRecords' name for the end of the log."""


class KafkaAdmin:
    """`Admin` over `AIOKafkaAdminClient`."""

    def __init__(self, connection: KafkaConnection) -> None:
        self._connection = connection
        self._client: Any = AIOKafkaAdminClient(**connection.client_options())

    async def start(self) -> None:
        """Connect. `BrokerUnavailable` when nobody answers."""
        try:
            async with self._asking("connect"):
                await self._client.start()
        except BaseException:
            await self.close()
            raise

    async def describe_topics(self) -> dict[str, TopicConfig]:
        async with self._asking("describe topics"):
            described = [t for t in await self._client.describe_topics() if not t["is_internal"]]
            names = [topic["topic"] for topic in described]
            config = await self._configs(names) if names else {}
        return {
            topic["topic"]: TopicConfig(
                topic["topic"],
                len(topic["partitions"]),
                len(topic["partitions"][0]["replicas"]) if topic["partitions"] else 0,
                config.get(topic["topic"], {}),
            )
            for topic in sorted(described, key=lambda topic: str(topic["topic"]))
        }

    async def create_topics(self, topics: Sequence[TopicConfig]) -> None:
        async with self._asking("create topics"):
            response = await self._client.create_topics([_new_topic(t) for t in topics])
            _check(response.topic_errors, ignore=client.TopicAlreadyExistsError)
            await self._until_spread({t.name for t in topics}, present=True)

    async def delete_topics(self, names: Sequence[str]) -> None:
        async with self._asking("delete topics"):
            response = await self._client.delete_topics(list(names))
            _check(response.topic_error_codes, ignore=client.UnknownTopicOrPartitionError)
            await self._until_spread(set(names), present=False)

    async def create_partitions(self, totals: Mapping[str, int]) -> None:
        async with self._asking("add partitions"):
            for topic in await self._client.describe_topics(list(totals)):
                _check([(topic["topic"], topic["error_code"])])
                name, has = topic["topic"], len(topic["partitions"])
                if totals[name] != has:
                    await self._client.create_partitions({name: NewPartitions(totals[name])})

    async def alter_config(self, topic: str, config: Mapping[str, str]) -> None:
        async with self._asking(f"configure {topic}"):
            request = IncrementalAlterConfigs(topic, config)
            response = await self._client._send_to_controller(request)  # noqa: SLF001  # pinned
            _check([(name, code, text) for code, text, _, name in response.responses])

    async def delete_records(self, before: Mapping[TopicPartition, int]) -> None:
        for tp, offset in before.items():
            async with self._asking(f"trim {tp}"):
                try:
                    await self._trim(tp, offset)
                except client.OffsetOutOfRangeError:
                    await self._trim(tp, _HIGH_WATERMARK)

    async def committed(
        self, group: str, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, CommittedOffset]:
        asked = [ClientPartition(*tp) for tp in partitions]
        if not asked:
            return {}
        async with self._asking(f"read offsets of {group}"):
            found = await self._retrying(
                lambda: self._client.list_consumer_group_offsets(group, partitions=asked)
            )
        return {
            TopicPartition(*tp): CommittedOffset(committed.offset, committed.metadata)
            for tp, committed in found.items()
            if committed.offset >= 0
        }

    async def describe_group(self, group: str) -> GroupDescription:
        async with self._asking(f"describe group {group}"):
            return await self._retrying(lambda: describe_group(self._client, group))  # type: ignore[no-any-return]  # its result

    async def cluster_id(self) -> str:
        async with self._asking("describe the cluster"):
            described = await self._client.describe_cluster()
        return str(described["cluster_id"])

    async def close(self) -> None:
        await end_client(self._client._client)  # noqa: SLF001  # its own close may raise

    async def _configs(self, topics: Sequence[str]) -> dict[str, dict[str, str]]:
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in topics]
        [response] = await self._client.describe_configs(resources)
        return {
            name: {
                key: value
                for key, value, _read_only, source, *_ in entries
                if source == _SET_ON_TOPIC
            }
            for _code, _text, _kind, name, entries in response.resources
        }

    async def _trim(self, tp: TopicPartition, offset: int) -> None:
        known = await self._client.describe_topics([tp.topic])
        if tp.partition not in {p["partition"] for p in known[0]["partitions"]}:
            raise UnknownTopic(f"{tp} does not exist. Run `dia topics apply`.")
        await self._retrying(
            lambda: self._client.delete_records({ClientPartition(*tp): RecordsToDelete(offset)})
        )

    async def _retrying(self, call: Any) -> Any:
        """Repeat ``call`` while a coordinator or leader is moving; `_asking` sets the deadline."""
        while True:
            try:
                return await call()
            except client.KafkaError as error:
                if not error.retriable:
                    raise
                await asyncio.sleep(SPREAD_POLL_S)

    async def _until_spread(self, names: set[str], *, present: bool) -> None:
        deadline_s = time.monotonic() + SPREAD_TIMEOUT_S
        while time.monotonic() < deadline_s:
            known = {
                topic["topic"]
                for topic in await self._client.describe_topics()
                if topic["partitions"] and all(p["leader"] >= 0 for p in topic["partitions"])
            }
            if names <= known if present else not names & known:
                return
            await asyncio.sleep(SPREAD_POLL_S)
        raise TimeoutError(f"{', '.join(sorted(names))} still not settled")

    @asynccontextmanager
    async def _asking(self, doing: str) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._connection.request_timeout_s + SPREAD_TIMEOUT_S):
                yield
        except CLIENT_ERRORS as error:
            raise broker_error(error, f"{doing} at {self._connection.bootstrap}") from error


def _new_topic(topic: TopicConfig) -> Any:
    new = NewTopic(topic.name, topic.partitions, 1, topic_configs=dict(topic.config))
    # A replication factor of -1 asks for the broker's default (KIP-464); the client's constructor
    # takes it for a mistake.
    new.replication_factor = topic.replication_factor
    return new


def _check(results: Iterable[Sequence[Any]], ignore: type[Exception] | None = None) -> None:
    """Raise the first error of (name, code[, message]) rows that is not ``ignore``."""
    for name, code, *text in results:
        error = client.for_code(code)
        if code and error is not ignore:
            raise error(f"{name}: {' '.join(str(part) for part in text if part)}")
