"""Maps exceptions of aiokafka to errors of dia.

| aiokafka, asyncio or the system                                  | dia                     |
|------------------------------------------------------------------|-------------------------|
| `ProducerFenced`, `InvalidProducerEpoch`, code 90                | `ProducerFenced`        |
| any other between a transaction's begin and its end              | `CommitInDoubt`         |
| `UnknownTopicOrPartitionError`, "Unrecognized partition"         | `UnknownTopic`          |
| `MessageSizeTooLargeError`, `RecordListTooLargeError`            | `TooLarge`              |
| `OffsetOutOfRangeError` of a fetch                               | `OffsetOutOfRange`      |
| `FencedInstanceId` (82), or an unknown member id                 | an eviction; two within a session timeout are a `MembershipConflict` |
| `InvalidConfigurationError`, `InvalidRequestError`, `InvalidTopicError`, `InvalidReplicationFactorError`, `PolicyViolationError` | `UsageError` |
| `InvalidPartitionsError`                                         | `RefusedBySafety`       |
| every other `KafkaError`, `OSError` and `TimeoutError`           | `BrokerUnavailable`     |

aiokafka wraps errors of its background tasks, so the whole chain of causes is searched.
"""

from __future__ import annotations

from collections.abc import Iterator

import aiokafka.errors as client

from streams.connect.broker.kafka.requests.codes import PRODUCER_FENCED
from streams.core.errors import (
    BrokerUnavailable,
    CommitInDoubt,
    DiaError,
    PartitionRestart,
    ProducerFenced,
    RefusedBySafety,
    UnknownTopic,
    UsageError,
)
from streams.core.records.bad_records import TooLarge

CLIENT_ERRORS = (
    client.KafkaError,
    client.IllegalOperation,
    client.ConsumerStoppedError,
    OSError,
    TimeoutError,
    # for example a partition beyond the topic's count
    AssertionError,
)
"""Other exceptions of the client are defects and pass unchanged."""


class FencedInstanceIdError(client.BrokerResponseError):  # type: ignore[misc]  # aiokafka is untyped
    """Another member joined with this static id (KIP-345). aiokafka 0.14 lacks the code."""

    errno = 82
    message = "FENCED_INSTANCE_ID"


def evicted(error: BaseException) -> bool:
    """Whether another member took this static id. The client wraps the code as text at join, sync
    and heartbeat."""
    return FencedInstanceIdError.__name__ in str(error)


client.kafka_errors.setdefault(FencedInstanceIdError.errno, FencedInstanceIdError)

_TOO_LARGE = (client.MessageSizeTooLargeError, client.RecordListTooLargeError)
_FENCED = (
    client.ProducerFenced,
    client.InvalidProducerEpoch,
    PRODUCER_FENCED,
    ProducerFenced,
)
_REFUSED = (
    client.InvalidConfigurationError,
    client.InvalidRequestError,
    client.InvalidTopicError,
    client.InvalidReplicationFactorError,
    client.PolicyViolationError,
)
_FORBIDDEN = (
    client.TopicAuthorizationFailedError,
    client.GroupAuthorizationFailedError,
    client.ClusterAuthorizationFailedError,
    client.TransactionalIdAuthorizationFailed,
)
_CLOCKS = (
    ". The clock of this machine is ahead of the broker's by more than the topic's "
    "message.timestamp.after.max.ms, or behind by more than its message.timestamp.before.max.ms: set it."
)
_RIGHTS = (
    ". The Kafka user lacks a right: `dia topics rights` lists those of each role, "
    "`dia topics grant` gives them."
)
_MEANINGS: tuple[tuple[tuple[type[BaseException], ...], type[DiaError], str], ...] = (
    (_TOO_LARGE, TooLarge, ""),
    (_REFUSED, UsageError, ""),
    ((client.InvalidPartitionsError,), RefusedBySafety, ""),
    (_FORBIDDEN, BrokerUnavailable, _RIGHTS),
    ((client.InvalidTimestampError,), BrokerUnavailable, _CLOCKS),
)


def broker_error(error: BaseException, doing: str) -> DiaError:
    """``doing`` describes the call and names the address."""
    text = f"{doing}: {_describe(error)}"
    if any(isinstance(cause, client.KafkaConnectionError) for cause in _chain(error)):
        text = f"cannot reach Kafka ({doing}): no broker accepts a connection"
    for cause in _chain(error):
        if isinstance(cause, client.UnknownTopicOrPartitionError) or "Unrecognized" in str(cause):
            return UnknownTopic(f"{text}. `dia topics apply` creates the topics.")
        for kinds, meaning, hint in _MEANINGS:
            if isinstance(cause, kinds):
                return meaning(f"{text}{hint}")
    return BrokerUnavailable(f"{text}. `dia doctor` checks the broker.")


def transaction_error(error: BaseException, doing: str) -> PartitionRestart:
    """`ProducerFenced` where the broker answered so, else `CommitInDoubt`."""
    text = f"{doing}: {_describe(error)}"
    for cause in _chain(error):
        if isinstance(cause, _FENCED):
            return ProducerFenced(text)
        if isinstance(cause, client.InvalidTimestampError):
            return CommitInDoubt(f"{text}{_CLOCKS}")
    return CommitInDoubt(text)


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__} {error}".strip()


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__
