"""Dialects of dead-letter headers. dia writes one and reads four:

- Kafka Connect, ``__connect.errors.*``: numbers as decimal text
  (``DeadLetterQueueReporter.populateContextHeaders``).
- Kafka Streams (KIP-1034), ``__streams.errors.*``: numbers as decimal text
  (``ExceptionHandlerUtils.buildDeadLetterQueueRecord``).
- Spring, ``kafka_dlt-*``: numbers as big-endian integers of 4 or 8 bytes
  (``DeadLetterPublishingRecoverer.enhanceHeaders``).

A missing or malformed header reads as None."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from streams.core.records import headers

Fields: TypeAlias = Mapping[str, bytes]
"""The last value of each header name."""

_BIG_ENDIAN_MAX_BYTES = 8


def text(raw: bytes | None) -> str | None:
    """Invalid bytes are escaped."""
    return None if raw is None else raw.decode(errors="backslashreplace")


def _big_endian(raw: bytes | None) -> int | None:
    if not raw or len(raw) > _BIG_ENDIAN_MAX_BYTES:
        return None
    number = int.from_bytes(raw, "big", signed=True)
    return number if number >= 0 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """``names`` maps a field of dia's dialect to equivalent headers, best first."""

    name: str
    prefix: str
    names: Mapping[str, tuple[str, ...]]
    number: Callable[[bytes | None], int | None] = headers.decimal

    def raw(self, fields: Fields, field: str) -> bytes | None:
        for name in self.names.get(field, ()):
            if name in fields:
                return fields[name]
        return None


@dataclass(frozen=True, slots=True)
class HeaderColumns:
    """Columns of the headers of many dead letters of one dialect."""

    dialect: Dialect
    fields: Sequence[Fields]

    def texts(self, field: str) -> list[str | None]:
        raw = self._raw(field)
        read = {one: text(one) for one in set(raw)}
        return [read[one] for one in raw]

    def numbers(self, field: str) -> list[int | None]:
        raw = self._raw(field)
        read = {one: self.dialect.number(one) for one in set(raw)}
        return [read[one] for one in raw]

    def _raw(self, field: str) -> list[bytes | None]:
        names = self.dialect.names.get(field, ())
        if len(names) == 1:
            [name] = names
            return [one.get(name) for one in self.fields]
        return [self.dialect.raw(one, field) for one in self.fields]


_DIA_FIELDS = (
    *("id", "topic", "partition", "offset", "timestamp", "key_present", "error_code"),
    *("error_message", "stage", "agent", "group", "attempts", "first_failed_at", "app_version"),
    *("replay_hops", "pointer", "value_bytes", "value_sha256"),
)

DIA: Final = Dialect(
    name="dia",
    prefix=headers.DLQ_PREFIX,
    names={field: (headers.DLQ_PREFIX + field,) for field in _DIA_FIELDS},
)
CONNECT: Final = Dialect(
    name="connect",
    prefix="__connect.errors.",
    names={
        "topic": ("__connect.errors.topic",),
        "partition": ("__connect.errors.partition",),
        "offset": ("__connect.errors.offset",),
        "error_code": ("__connect.errors.exception.class.name",),
        "error_message": ("__connect.errors.exception.message",),
        "stage": ("__connect.errors.stage",),
        "agent": ("__connect.errors.connector.name",),
    },
)
STREAMS: Final = Dialect(
    name="streams",
    prefix="__streams.errors.",
    names={
        "topic": ("__streams.errors.topic",),
        "partition": ("__streams.errors.partition",),
        "offset": ("__streams.errors.offset",),
        "error_code": ("__streams.errors.exception",),
        "error_message": ("__streams.errors.message",),
    },
)
SPRING: Final = Dialect(
    name="spring",
    prefix="kafka_dlt-",
    names={
        "topic": ("kafka_dlt-original-topic",),
        "partition": ("kafka_dlt-original-partition",),
        "offset": ("kafka_dlt-original-offset",),
        "timestamp": ("kafka_dlt-original-timestamp",),
        "group": ("kafka_dlt-original-consumer-group",),
        # The outer exception is usually the listener's wrapper.
        "error_code": (
            *("kafka_dlt-exception-cause-fqcn", "kafka_dlt-exception-fqcn"),
            "kafka_dlt-key-exception-fqcn",
        ),
        "error_message": ("kafka_dlt-exception-message", "kafka_dlt-key-exception-message"),
        "attempts": ("retry_topic-attempts",),
    },
    number=_big_endian,
)
UNKNOWN: Final = Dialect(name="unknown", prefix="", names={})

_BY_PREFIX = (DIA, SPRING, CONNECT, STREAMS)


def dialect_of(fields: Fields) -> Dialect:
    """dia's own first, because dia writes last."""
    if "dia.dlq.id" in fields:
        return DIA
    for dialect in _BY_PREFIX:
        if any(name.startswith(dialect.prefix) for name in fields):
            return dialect
    return UNKNOWN
