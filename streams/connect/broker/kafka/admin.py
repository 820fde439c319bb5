"""Administration through aiokafka, which checks few of Kafka's error codes.

This module checks the code of the answer and of each entry, and that no entry is missing. It
retries a code that passes by itself (`codes.passes`) until the deadline. A topic counts as unknown
after `UNKNOWN_AFTER_S`: brokers learn of it at different moments."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import aiokafka.errors as client
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.protocol.admin import CreateAclsRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.structs import TopicPartition as ClientPartition

from streams.connect.broker.kafka.connection import KafkaConnection
from streams.connect.broker.kafka.errors import CLIENT_ERRORS, broker_error
from streams.connect.broker.kafka.requests.alter_config import IncrementalAlterConfigs
from streams.connect.broker.kafka.requests.codes import IncompleteAnswerError, passes, raise_for
from streams.connect.broker.kafka.requests.groups import describe_group
from streams.connect.broker.kafka.requests.metadata import UNKNOWN_AFTER_S
from streams.connect.broker.kafka.requests.offset_fetch import OffsetFetch
from streams.connect.broker.kafka.tasks import end_client
from streams.core.errors import BrokerUnavailable, UnknownTopic, UsageError
from streams.core.topics.right import Resource, Right
from streams.core.types import (
    CommittedOffset,
    GroupDescription,
    PartitionReplicas,
    TopicConfig,
    TopicPartition,
)

SPREAD_TIMEOUT_S = 10.0
"""Longest wait until every broker's metadata shows a created or deleted topic."""
POLL_S = 0.02
_SET_ON_TOPIC = 1
"""ConfigSource DYNAMIC_TOPIC_CONFIG of DescribeConfigs"""

Answer = TypeVar("Answer")


class KafkaAdmin:
    def __init__(self, connection: KafkaConnection) -> None:
        self._connection = connection
        self._client: Any = AIOKafkaAdminClient(**connection.client_options())

    async def start(self) -> None:
        """Raises `BrokerUnavailable` when no broker answers."""
        try:
            await self._client.start()
        except CLIENT_ERRORS as error:
            await self.close()
            raise self._error(error, "connect") from error
        except BaseException:
            await self.close()
            raise

    async def describe_topics(self) -> dict[str, TopicConfig]:
        async def describe() -> dict[str, TopicConfig]:
            listed = await self._topics()
            described = [topic for topic in listed if not topic["is_internal"]]
            config = await self._configs([topic["topic"] for topic in described])
            return {
                topic["topic"]: TopicConfig(
                    topic["topic"],
                    len(topic["partitions"]),
                    len(topic["partitions"][0]["replicas"]),
                    config[topic["topic"]],
                )
                for topic in sorted(described, key=lambda topic: str(topic["topic"]))
            }

        return await self._ask("describe topics", describe)

    async def describe_replicas(self, topic: str) -> dict[int, PartitionReplicas]:
        async def describe() -> dict[int, PartitionReplicas]:
            [found] = await self._topics([topic])
            return {
                one["partition"]: PartitionReplicas(
                    one["leader"], tuple(one["replicas"]), tuple(one["isr"])
                )
                for one in found["partitions"]
            }

        return await self._ask(f"describe {topic}", describe)

    async def create_topics(self, topics: Sequence[TopicConfig]) -> None:
        async def create() -> None:
            response = await self._client.create_topics([_new_topic(t) for t in topics])
            _check(response.topic_errors, ignore=client.TopicAlreadyExistsError)
            await self._until_spread({t.name for t in topics}, present=True)

        await self._ask("create topics", create)

    async def delete_topics(self, names: Sequence[str]) -> None:
        async def delete() -> None:
            response = await self._client.delete_topics(list(names))
            _check(response.topic_error_codes, ignore=client.UnknownTopicOrPartitionError)
            await self._until_spread(set(names), present=False)

        await self._ask("delete topics", delete)

    async def create_partitions(self, totals: Mapping[str, int]) -> None:
        async def create() -> None:
            for topic in await self._topics(list(totals)):
                name, has = topic["topic"], len(topic["partitions"])
                if totals[name] != has:
                    await self._client.create_partitions({name: NewPartitions(totals[name])})

        await self._ask("add partitions", create)

    async def alter_config(self, topic: str, config: Mapping[str, str]) -> None:
        async def alter() -> None:
            request = IncrementalAlterConfigs(topic, config)
            response = await self._client._send_to_controller(request)  # noqa: SLF001  # pinned
            _check([(name, code, text) for code, text, _, name in response.responses])
            _whole({topic}, {name for *_, name in response.responses})

        await self._ask(f"configure {topic}", alter)

    async def grant(self, user: str, rights: Iterable[Right]) -> None:
        """Raises `UsageError` where the broker has no authorizer, which allows every client
        everything."""
        for right in rights:
            for request in acl_requests(user, right):
                await self._ask(
                    f"let {user} {right.resource} {right.name}", partial(self._create_acl, request)
                )

    async def delete_records(self, before: Mapping[TopicPartition, int]) -> None:
        for tp, offset in before.items():
            try:
                await self._ask(f"trim {tp}", partial(self._trim, tp, offset))
            except _AheadOfLeader as error:
                raise BrokerUnavailable(
                    f"{tp} is not trimmed to offset {offset}: its leader does not hold so many "
                    f"replicated records. Nothing was deleted. Try again later."
                ) from error

    async def committed(
        self, group: str, partitions: Iterable[TopicPartition], *, stable: bool = True
    ) -> dict[TopicPartition, CommittedOffset]:
        asked = list(partitions)
        if not asked:
            return {}
        told: dict[TopicPartition, CommittedOffset] = {}

        async def fetch() -> None:
            # With frequent commits some partitions are always unstable, so stable answers are kept.
            request = OffsetFetch(group, set(asked) - set(told), stable=stable)
            coordinator = await self._client.find_coordinator(group)
            response = await self._client._send_request(request, coordinator)  # noqa: SLF001  # pinned
            request.take(response, told)

        await self._ask(f"read offsets of {group}", fetch)
        return {tp: committed for tp, committed in told.items() if committed.offset >= 0}

    async def describe_group(self, group: str) -> GroupDescription:
        return await self._ask(
            f"describe group {group}", partial(describe_group, self._client, group)
        )

    async def cluster_id(self) -> str:
        async def describe() -> str:
            described = await self._client.describe_cluster()
            if not described.get("cluster_id"):
                raise IncompleteAnswerError("the answer has no cluster id")
            return str(described["cluster_id"])

        return await self._ask("describe the cluster", describe)

    async def close(self) -> None:
        await end_client(self._client._client)  # noqa: SLF001  # its own close may raise

    async def _topics(self, names: list[str] | None = None) -> list[Any]:
        """Each has at least one partition. Without ``names``, topics that are being deleted are
        left out."""
        found = []
        request = MetadataRequest(names, allow_auto_topic_creation=False)
        response = await self._client._send_request(request)  # noqa: SLF001  # pinned
        for topic in response.to_object()["topics"]:
            code = topic["error_code"]
            if names is None and code == client.UnknownTopicOrPartitionError.errno:
                continue
            raise_for(code, topic["topic"])
            if not topic["partitions"]:
                raise IncompleteAnswerError(f"no partition of {topic['topic']}")
            found.append(topic)
        _whole(set(names or ()), {topic["topic"] for topic in found})
        return found

    async def _configs(self, topics: Sequence[str]) -> dict[str, dict[str, str]]:
        if not topics:
            return {}
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in topics]
        [response] = await self._client.describe_configs(resources)
        _check([(name, code, text) for code, text, _kind, name, _ in response.resources])
        found = {
            name: {
                key: value
                for key, value, _read_only, source, *_ in entries
                if source == _SET_ON_TOPIC
            }
            for _code, _text, _kind, name, entries in response.resources
        }
        _whole(set(topics), set(found))
        return found

    async def _create_acl(self, request: Any) -> None:
        response = await self._client._send_to_controller(request)  # noqa: SLF001  # pinned
        try:
            _check([("rule", code, text) for code, text in response.creation_responses])
        except client.SecurityDisabled as error:
            raise UsageError(
                f"{self._connection.bootstrap} has no authorizer: every client may do everything. "
                f"Nothing was granted. Set authorizer.class.name of the brokers first."
            ) from error
        if not response.creation_responses:
            raise IncompleteAnswerError("nothing about the rule")

    async def _trim(self, tp: TopicPartition, offset: int) -> None:
        [topic] = await self._topics([tp.topic])
        if tp.partition not in {p["partition"] for p in topic["partitions"]}:
            raise UnknownTopic(f"{tp} does not exist. Run `dia topics apply`.")
        place = ClientPartition(*tp)
        try:
            trimmed = await self._client.delete_records({place: RecordsToDelete(offset)})
        except client.OffsetOutOfRangeError as error:
            raise _AheadOfLeader from error
        _whole({place}, set(trimmed))

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
            await asyncio.sleep(POLL_S)
        raise TimeoutError(f"{', '.join(sorted(names))} still not settled")

    async def _ask(self, doing: str, call: Callable[[], Awaitable[Answer]]) -> Answer:
        began_s = time.monotonic()
        last: BaseException | None = None
        try:
            async with asyncio.timeout(self._connection.request_timeout_s + SPREAD_TIMEOUT_S):
                while True:
                    try:
                        return await call()
                    except client.KafkaError as error:
                        if not passes(error) or _stays_unknown(error, began_s):
                            raise
                        last = error
                    await asyncio.sleep(POLL_S)
        except CLIENT_ERRORS as error:
            told = last if isinstance(error, TimeoutError) and last is not None else error
            raise self._error(told, doing) from error

    def _error(self, error: BaseException, doing: str) -> Exception:
        return broker_error(error, f"{doing} at {self._connection.bootstrap}")


class _AheadOfLeader(Exception):  # noqa: N818 - a signal between two methods, not an error
    """The leader's log ends before the offset to trim to."""


def _stays_unknown(error: BaseException, began_s: float) -> bool:
    unknown = isinstance(error, client.UnknownTopicOrPartitionError)
    return unknown and time.monotonic() - began_s > UNKNOWN_AFTER_S


def _whole(asked: set[Any], told: set[Any]) -> None:
    if left_out := asked - told:
        raise IncompleteAnswerError(f"nothing about {min(left_out)}")


def _new_topic(topic: TopicConfig) -> Any:
    new = NewTopic(topic.name, topic.partitions, 1, topic_configs=dict(topic.config))
    # -1 asks for the broker's default (KIP-464); the client's constructor refuses it.
    new.replication_factor = topic.replication_factor
    return new


def _check(results: Iterable[Sequence[Any]], ignore: type[Exception] | None = None) -> None:
    """Raise the first error of (name, code[, message]) rows that is not ``ignore``."""
    for name, code, *text in results:
        if client.for_code(code) is not ignore:
            raise_for(code, f"{name}: {' '.join(str(part) for part in text if part)}")


# Numbers of Kafka's ResourceType, PatternType, AclOperation and AclPermissionType:
# https://kafka.apache.org/41/javadoc/org/apache/kafka/common/acl/package-summary.html.
_RESOURCES: Final[dict[Resource, int]] = {
    "topic": 2, "group": 3, "cluster": 4, "transactionalId": 5,
}  # fmt: skip
_LITERAL, _PREFIXED = 3, 4
_OPERATIONS: Final = {
    "Read": 3, "Write": 4, "Create": 5, "Delete": 6, "Alter": 7, "Describe": 8,
    "DescribeConfigs": 10, "AlterConfigs": 11, "IdempotentWrite": 12,
}  # fmt: skip
_ANY_HOST = "*"
_ALLOW = 3
_CLUSTER_NAME = "kafka-cluster"


def acl_requests(user: str, right: Right) -> Iterator[Any]:
    """One per operation. Kafka accepts a rule that exists already."""
    for operation in right.operations:
        yield CreateAclsRequest(
            _RESOURCES[right.resource],
            right.name or _CLUSTER_NAME,
            _PREFIXED if right.prefix else _LITERAL,
            f"User:{user}",
            _ANY_HOST,
            _OPERATIONS[operation],
            _ALLOW,
        )
