"""Rules of Kafka's authorizer, as aiokafka's CreateAcls request takes them. Numbers:
https://kafka.apache.org/41/javadoc/org/apache/kafka/common/acl/package-summary.html."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from aiokafka.protocol.admin import CreateAclsRequest

from streams.core.topics.right import Resource, Right

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


def requests(user: str, right: Right) -> Iterator[Any]:
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
