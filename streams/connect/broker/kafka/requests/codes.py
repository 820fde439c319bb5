"""Kafka error codes that aiokafka 0.14 lacks (its `for_code` returns the final `UnknownError`), and
which codes are retriable: https://kafka.apache.org/protocol#protocol_error_codes (Kafka 4.1)."""

from __future__ import annotations

from typing import Any

import aiokafka.errors as client

_LACKING: dict[int, tuple[str, bool]] = {
    74: ("FENCED_LEADER_EPOCH", True),
    75: ("UNKNOWN_LEADER_EPOCH", True),
    76: ("UNSUPPORTED_COMPRESSION_TYPE", False),
    77: ("STALE_BROKER_EPOCH", False),
    78: ("OFFSET_NOT_AVAILABLE", True),
    80: ("PREFERRED_LEADER_NOT_AVAILABLE", True),
    81: ("GROUP_MAX_SIZE_REACHED", False),
    83: ("ELIGIBLE_LEADERS_NOT_AVAILABLE", True),
    84: ("ELECTION_NOT_NEEDED", True),
    85: ("NO_REASSIGNMENT_IN_PROGRESS", False),
    86: ("GROUP_SUBSCRIBED_TO_TOPIC", False),
    87: ("INVALID_RECORD", False),
    88: ("UNSTABLE_OFFSET_COMMIT", True),
    89: ("THROTTLING_QUOTA_EXCEEDED", True),
    90: ("PRODUCER_FENCED", False),
    91: ("RESOURCE_NOT_FOUND", False),
    97: ("FEATURE_UPDATE_FAILED", False),
    100: ("UNKNOWN_TOPIC_ID", True),
    103: ("INCONSISTENT_TOPIC_ID", True),
    106: ("FETCH_SESSION_TOPIC_ID_ERROR", True),
    109: ("OFFSET_MOVED_TO_TIERED_STORAGE", False),
    110: ("FENCED_MEMBER_EPOCH", False),
    111: ("UNRELEASED_INSTANCE_ID", False),
    112: ("UNSUPPORTED_ASSIGNOR", False),
    113: ("STALE_MEMBER_EPOCH", False),
    120: ("TRANSACTION_ABORTABLE", False),
}
"""by code: name, and whether it is retriable"""

_PASSING: frozenset[int] = frozenset({2, 9, 13, 51, 70, 71, 72})
"""Retriable in Kafka's table but not in aiokafka's: CORRUPT_MESSAGE, REPLICA_NOT_AVAILABLE,
NETWORK_EXCEPTION, CONCURRENT_TRANSACTIONS, FETCH_SESSION_ID_NOT_FOUND, INVALID_FETCH_SESSION_EPOCH,
LISTENER_NOT_FOUND."""


class IncompleteAnswerError(client.KafkaError):  # type: ignore[misc]  # aiokafka is untyped
    """An answer without an error code that lacks requested entries: the client is over its quota,
    the metadata is stale, or the leader's log is behind."""

    retriable = True


def _declare(code: int, name: str, retriable: bool) -> type[Any]:
    members = {"errno": code, "message": name, "retriable": retriable}
    return type(name, (client.BrokerResponseError,), members)


for _code, (_name, _retriable) in _LACKING.items():
    client.kafka_errors.setdefault(_code, _declare(_code, _name, _retriable))

PRODUCER_FENCED: type[Any] = client.for_code(90)
"""another producer started with this transactional id (KIP-588)"""


def raise_for(code: int, about: str) -> None:
    if code:
        raise client.for_code(code)(about)


def passes(error: BaseException) -> bool:
    """Whether the request may succeed when repeated."""
    if getattr(error, "retriable", False):
        return True
    return isinstance(error, client.BrokerResponseError) and error.errno in _PASSING
