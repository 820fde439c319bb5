"""Makes the record of a send: key, partition and bytes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from streams.connect.broker.partitioner import partition_of
from streams.core.records.bad_records import ValueRefused
from streams.core.records.headers import MIRRORED
from streams.core.records.record_size import FRAMING_BYTES, check_sendable
from streams.core.topics.current_stream import HeadersLike, Key, Target
from streams.core.types import Headers, OutboundRecord, TopicPartition

_REMEMBERED_CHARS: Final = 128
"""A remembered key stays in memory."""


def outgoing(
    topic: Target,
    key: Key,
    value: Any,
    *,
    partitions: int,
    without_key: int,
    partition: int | None = None,
    timestamp_s: float | None = None,
    headers: HeadersLike = None,
) -> OutboundRecord:
    """``key`` None: the value's ``key_field``, if it has one. Kafka's default partitioner selects
    one of ``partitions``, so that all records of a key are in one; a record without a key goes to
    ``without_key`` modulo ``partitions``.

    Raises `ValueRefused` for a record that Kafka refuses in every attempt: one that is too large, one of a
    partition or a timestamp that cannot be, or one without a key in a compacted topic.
    """
    raw: bytes | None
    if type(key) is str and len(key) <= _REMEMBERED_CHARS and partition is None:
        raw, place = _placed(topic.name, partitions, key)
    else:
        raw = key_bytes(topic, key, value)
        if raw is None and topic.compacting:
            raise ValueRefused(
                f"a record for {topic.name} has no key, but the topic is compacted: it keeps the "
                f"newest record of each key. Send it with one, or give the topic a key_field."
            )
        if partition is None:
            partition = without_key % partitions if raw is None else partition_of(raw, partitions)
        elif not 0 <= partition < partitions:
            raise ValueRefused(
                f"a record for {topic.name} names partition {partition}, but the topic has {partitions}"
            )
        place = TopicPartition(topic.name, partition)
    record = OutboundRecord(
        place,
        raw,
        value_bytes(topic, value),
        header_pairs(headers) if headers else (),
        None if timestamp_s is None else int(timestamp_s * 1000),
    )
    size = FRAMING_BYTES + len(raw or b"") + len(record.value or b"")
    if headers or timestamp_s is not None or size > topic.message_bytes:
        check_sendable(record, topic.message_bytes)
    return record


@lru_cache(maxsize=1 << 13)
def _placed(topic: str, partitions: int, key: str) -> tuple[bytes, TopicPartition]:
    raw = key.encode()
    return raw, TopicPartition(topic, partition_of(raw, partitions))


def key_bytes(topic: Target, key: Key, value: Any) -> bytes | None:
    """The key of a record: text as UTF-8, an integer in decimal."""
    if key is None and topic.key_field and value is not None and not isinstance(value, bytes):
        found = value.get(topic.key_field) if isinstance(value, dict) else None
        key = found if found is not None else getattr(value, topic.key_field, None)
    if key is None or isinstance(key, bytes):
        return key
    return str(key).encode()


def key_text(key: bytes | None) -> str | bytes | None:
    """A record's key for agents: text if it is UTF-8, else bytes."""
    if key is None:
        return None
    try:
        return key.decode()
    except UnicodeDecodeError:
        return key


def value_bytes(topic: Target, value: Any) -> bytes | None:
    """Bytes as they are, other values by the topic's codec. Raises TypeError for a value that the
    codec lacks, and `ValueRefused` for a codec that makes no bytes of it."""
    if value is None or isinstance(value, bytes):
        return value
    encoded = topic.codec.encode(value)
    if type(encoded) is not bytes:
        raise ValueRefused(
            f"the codec of {topic.name} made {type(encoded).__name__} of a value: its encode returns bytes"
        )
    return encoded


def made_here(headers: HeadersLike, region: str) -> Headers:
    """The headers of a record that an agent makes. With ``region``, the agents of each region make it, and
    mirrors leave it alone: a topic between agents would have the records of all regions."""
    pairs = header_pairs(headers)
    return (*pairs, (MIRRORED, b"")) if region else pairs


def header_pairs(headers: HeadersLike) -> Headers:
    if not headers:
        return ()
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return tuple(
        (name, value if isinstance(value, bytes) else value.encode()) for name, value in pairs
    )
