"""A topic that agents read or write: types, key, time, sizes. Pure data.

Its companions, with at least as many partitions: dead letters (``.dlq``), parking lot
(``.dlq.parked``), journal of decisions on dead letters, and a changelog per reading group."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

from streams.core.errors import UsageError
from streams.core.formats.codec import Codec
from streams.core.formats.plain_codecs import JSON
from streams.core.topics.current_stream import HeadersLike, Key, current

DAY_MS = 86_400_000
UNLIMITED = -1
"""Kafka's value for unlimited retention"""
MAX_RECORD_BYTES = 1 << 20
RECORD_OVERHEAD_BYTES = 16 << 10
"""key, headers and framing around a value of `MAX_RECORD_BYTES`"""
SOURCE_MESSAGE_BYTES = MAX_RECORD_BYTES + RECORD_OVERHEAD_BYTES
DLQ_HEADROOM_BYTES = 64 << 10
"""a dead letter is its record plus the dia.dlq.* headers"""
DLQ_MESSAGE_BYTES = SOURCE_MESSAGE_BYTES + DLQ_HEADROOM_BYTES
PARKED_HEADROOM_BYTES = 4 << 10
"""a parked record is a dead letter plus the reason"""
DLQ_RETENTION_BYTES = 10 << 30
CHANGELOG_PART_BYTES = 900 << 10
"""below the broker's default limit of 1 MiB, compressed or not"""
CHANGELOG_MESSAGE_BYTES = 1 << 20
"""set in case the broker's default is lower"""

TENANT_FIELD: Final = "tenant_id"
TENANT_MAX_CHARS: Final = 512
"""Of a tenant's name in memory; longer names that begin alike count as one tenant."""


def tenant_name(event: Any) -> str:
    """A number as its digits; "" where the event names no tenant."""
    tenant = getattr(event, TENANT_FIELD, None)
    return "" if tenant is None else str(tenant)


def tenant_of(event: Any) -> str:
    """`tenant_name`, cut to `TENANT_MAX_CHARS`."""
    tenant = getattr(event, TENANT_FIELD, None)
    if type(tenant) is str and len(tenant) <= TENANT_MAX_CHARS:
        return tenant
    return tenant_name(event)[:TENANT_MAX_CHARS]


ValueType: TypeAlias = Any
"""A `msgspec.Struct` class, or any other type that msgspec decodes."""
Upcaster: TypeAlias = Callable[[Any], Any]
"""Converts an event of version n to version n + 1. Pure and total."""


class Need(NamedTuple):
    """An event whose ``field`` is ``value`` must have the field ``needs``, not null."""

    field: str
    value: str
    needs: str


class VersionReading(NamedTuple):
    """Decode as ``type``, then apply ``steps`` in order."""

    type: ValueType
    steps: tuple[Upcaster, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """One declared topic of the app named ``app``.

    ``versions`` maps each published schema version to its type; the record header ``dia.schema``
    names the version. ``upcasters`` maps a version to the step to the next one; needed only where
    the next type cannot decode the older bytes. ``schema`` names the family of these types in
    published documents.

    ``key_field`` is the field that the record key repeats as UTF-8 bytes; "": keys are free.
    ``time_field`` is the event time in milliseconds since the epoch; "": the append time.

    ``needs`` and ``bytes_max`` (None: the limit of a record) express what the types cannot; schema,
    decoder and every intake enforce them. ``message_bytes``: the topic's largest record batch.

    ``compacting``: Kafka keeps the newest record of each key for ever, instead of each record for
    ``retention_ms``. No agent may read such a topic, since compacted records would never be
    counted."""

    app: str
    name: str
    schema: str
    versions: Mapping[int, ValueType] = field(hash=False)
    partitions: int
    key_field: str = ""
    time_field: str = ""
    codec: Codec = field(default=JSON, hash=False)
    needs: tuple[Need, ...] = ()
    bytes_max: int | None = None
    upcasters: Mapping[int, Upcaster] = field(default_factory=dict, hash=False)
    retention_ms: int = 7 * DAY_MS
    message_bytes: int = SOURCE_MESSAGE_BYTES
    compacting: bool = False

    @property
    def latest(self) -> int:
        return max(self.versions)

    @property
    def type(self) -> ValueType:
        """Of the latest version, as agents receive it."""
        return self.versions[self.latest]

    @property
    def tenant_field(self) -> str | None:
        """None where events have no tenant."""
        return TENANT_FIELD if TENANT_FIELD in fields_of(self.type) else None

    @property
    def key_is_tenant(self) -> bool:
        return self.key_field == TENANT_FIELD

    @property
    def dlq(self) -> str:
        return f"{self.name}.dlq"

    @property
    def parked(self) -> str:
        """Dead letters that are not replayed automatically."""
        return f"{self.dlq}.parked"

    @property
    def journal(self) -> str:
        """Decisions about dead letters, with actor and time; never trimmed."""
        return self.changelog(replay_group(self.app))

    def changelog(self, group: str) -> str:
        return f"{self.app}.{group}.{self.name}.changelog"

    async def send(
        self,
        *,
        key: Key = None,
        value: Any = None,
        partition: int | None = None,
        timestamp: float | None = None,
        headers: HeadersLike = None,
    ) -> None:
        """As part of the current event. ``key`` None: the value's ``key_field``. ``timestamp`` is
        in seconds. Raises `TableMisused` outside an event."""
        sending = current.get().send(
            self, key, value, partition=partition, timestamp_s=timestamp, headers=headers
        )
        if sending is not None:
            await sending

    def send_soon(self, *, key: Key = None, value: Any = None, headers: HeadersLike = None) -> None:
        """As `send`, from code that is no coroutine."""
        current.get().send(self, key, value, headers=headers)

    def reading(self, version: int) -> VersionReading:
        """How to read a record of ``version`` as the latest event. Raises `KeyError` for an
        unpublished version, and for a gap in the upcasters."""
        if version not in self.versions:
            raise KeyError(f"{self.schema} has no version {version}")
        first = version
        while first < self.latest and first not in self.upcasters:
            first += 1
        steps = tuple(self.upcasters[n] for n in range(first, self.latest))
        return VersionReading(self.versions[first], steps)


def given_topic(word: str, given: Any) -> Topic:
    """``given`` if it is a topic. Raises `UsageError`, which names the declaration ``word``."""
    if isinstance(given, Topic):
        return given
    if inspect.isfunction(given):
        raise UsageError(
            f"{word} stands above {given.__name__} without a topic: write {word}(TOPIC), with "
            "parentheses."
        )
    raise UsageError(
        f"{word} takes a topic, and {given!r} is a {type(given).__name__}: declare {given} with "
        f"app.topic({given!r}, ...), and give what it returns."
    )


def fields_of(value_type: ValueType) -> Collection[str]:
    """() for a type without fields. ``DESCRIPTOR`` marks Protobuf message classes."""
    found: dict[str, Any] = {}
    if (message := getattr(value_type, "DESCRIPTOR", None)) is not None:
        return tuple(field.name for field in message.fields)
    for parent in reversed(getattr(value_type, "__mro__", ())):
        found |= inspect.get_annotations(parent)
    return tuple(found)


def replay_group(app: str) -> str:
    """Its changelogs are the journals of dead letters."""
    return f"{app}-replay"
