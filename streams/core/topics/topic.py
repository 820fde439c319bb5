"""A topic that agents read or write: its records' types, its key, its time, its sizes; pure data.

Beside the topic itself lie its companions: the dead letters (``.dlq``), the parking lot
(``.dlq.parked``), the journal of decisions on dead letters, and a changelog for each group that
reads it. They have at least as many partitions as the topic.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

from streams.core.formats.codec import Codec
from streams.core.formats.plain_codecs import JSON
from streams.core.topics.current_stream import HeadersLike, Key, current

DAY_MS = 86_400_000
UNLIMITED = -1
"""A retention that deletes nothing, in Kafka's own word."""
MAX_RECORD_BYTES = 1 << 20
RECORD_OVERHEAD_BYTES = 16 << 10
"""Key, headers and framing around a value of `MAX_RECORD_BYTES`."""
SOURCE_MESSAGE_BYTES = MAX_RECORD_BYTES + RECORD_OVERHEAD_BYTES
DLQ_HEADROOM_BYTES = 64 << 10
"""A dead letter is its record plus the dia.dlq.* headers."""
DLQ_MESSAGE_BYTES = SOURCE_MESSAGE_BYTES + DLQ_HEADROOM_BYTES
PARKED_HEADROOM_BYTES = 4 << 10
"""A parked record holds the dead letter, and the reason of its parking."""
DLQ_RETENTION_BYTES = 10 << 30
CHANGELOG_PART_BYTES = 900 << 10
"""A changelog record stays under the broker's default limit of 1 MiB, compressed or not."""
CHANGELOG_MESSAGE_BYTES = 1 << 20
"""Limit of a changelog topic: a broker whose own default is lower must not refuse a commit."""

TENANT_FIELD: Final = "tenant_id"

ValueType: TypeAlias = Any
"""What a decoder makes of a value: a `msgspec.Struct` class, or any other type msgspec decodes."""
Upcaster: TypeAlias = Callable[[Any], Any]
"""An event of version n in, the same event as version n + 1 out. Pure and total."""


class Need(NamedTuple):
    """An event whose ``field`` is ``value`` must have the field ``needs``, and not as null."""

    field: str
    value: str
    needs: str


class VersionReading(NamedTuple):
    """How bytes of one version are read: decode as ``type``, then apply ``steps`` in order."""

    type: ValueType
    steps: tuple[Upcaster, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """One declared topic of the app named ``app``.

    ``versions`` maps each published schema version to the type of its values; a record's header
    ``dia.schema`` names the version it was written with. ``upcasters`` maps a version to the step
    that leads to the next one; a step is needed only where the next type cannot decode the older
    version's bytes by itself. ``schema`` names the family of these types in published documents.

    ``key_field`` is the field that a record's key repeats as UTF-8 bytes; "": keys are free.
    ``time_field`` is the field of its event time in milliseconds since the epoch; "": the time of an
    event is its append time.

    ``needs`` and ``bytes_max`` are what the types cannot say. The published schema, the decoder,
    and so whatever takes an event in all hold to them: no agent refuses an event for its content
    alone. ``bytes_max`` None: as large as a record may be.

    ``message_bytes``: the largest record batch that the topic takes.

    ``compacting``: Kafka keeps the newest record of each key for ever, instead of each record for
    ``retention_ms``. No agent reads such a topic: what compaction took was never counted.
    """

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
        """The newest schema version."""
        return max(self.versions)

    @property
    def type(self) -> ValueType:
        """What agents receive: the type of the latest version."""
        return self.versions[self.latest]

    @property
    def tenant_field(self) -> str | None:
        """The field that says whose an event is; None where events belong to no tenant."""
        return TENANT_FIELD if TENANT_FIELD in fields_of(self.type) else None

    @property
    def key_is_tenant(self) -> bool:
        """Whether a record's key says whose it is."""
        return self.key_field == TENANT_FIELD

    @property
    def dlq(self) -> str:
        return f"{self.name}.dlq"

    @property
    def parked(self) -> str:
        """The parking lot: dead letters that no replay takes up again by itself."""
        return f"{self.dlq}.parked"

    @property
    def journal(self) -> str:
        """Decisions about the dead letters, with actor and time; never trimmed."""
        return self.changelog(replay_group(self.app))

    def changelog(self, group: str) -> str:
        """The topic that holds the state of ``group`` over this topic."""
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
        """Send from inside an agent, as a part of the event in progress. ``key`` None: the value's own
        ``key_field``. ``timestamp`` is in seconds.

        Raises `TableMisused` outside an event."""
        sending = current.get().send(
            self, key, value, partition=partition, timestamp_s=timestamp, headers=headers
        )
        if sending is not None:
            await sending

    def send_soon(self, *, key: Key = None, value: Any = None, headers: HeadersLike = None) -> None:
        """As `send`, from code that is no coroutine."""
        current.get().send(self, key, value, headers=headers)

    def reading(self, version: int) -> VersionReading:
        """The way from a record of ``version`` to the latest event.

        Raises KeyError for a version that was never published, and where a later step is missing
        after a first one: a published version would have become unreadable.
        """
        if version not in self.versions:
            raise KeyError(f"{self.schema} has no version {version}")
        first = version
        while first < self.latest and first not in self.upcasters:
            first += 1
        steps = tuple(self.upcasters[n] for n in range(first, self.latest))
        return VersionReading(self.versions[first], steps)


def fields_of(value_type: ValueType) -> Collection[str]:
    """The names of the fields that events of a type have; () for a type without fields. ``DESCRIPTOR`` is
    what classes of Protobuf messages have."""
    found: dict[str, Any] = {}
    if (message := getattr(value_type, "DESCRIPTOR", None)) is not None:
        return tuple(field.name for field in message.fields)
    for parent in reversed(getattr(value_type, "__mro__", ())):
        found |= inspect.get_annotations(parent)
    return tuple(found)


def replay_group(app: str) -> str:
    """The group whose changelogs record what became of dead letters."""
    return f"{app}-replay"
