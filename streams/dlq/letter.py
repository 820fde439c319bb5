"""One record of a DLQ topic, and what it says of itself. Nothing in it is taken on trust.

A `Letter` costs little to make, since a million of them are looked at for a few numbers: it keeps
the record as it came and reads a header when it is asked for.
"""

from __future__ import annotations

from itertools import repeat
from typing import NamedTuple

import msgspec
from msgspec import Struct

from streams import headers
from streams.dlq.dialects import DIA, Dialect, dialect_of, text
from streams.topology import SOURCES, SourceTopic
from streams.types import Headers, RecordBatch, TopicPartition

UNKNOWN = "unknown"
"""What a field reads where nobody wrote it."""

SINK_STAGE = "sink"
"""The value is a row that ClickHouse refused, not a record of the source topic."""

_ID = headers.DLQ_PREFIX + "id"
_POINTER = headers.DLQ_PREFIX + "pointer"
_DEFAULT_SCHEMA = 1
_TENANT_MAX_BYTES = 512
_BY_NAME = {source.name: source for source in SOURCES}


class Original(NamedTuple):
    """The record that failed, as it stood in its topic. ``timestamp_ms`` is its append time."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int


class Pointer(NamedTuple):
    """What a pointer record says of the value it left in the source topic."""

    value_bytes: int
    value_xxh3: str


class _Tenanted(Struct):
    tenant_id: str


class Letter(Struct, frozen=True, gc=False):
    """Where it lies in the DLQ, and the record there. See `Original` for the one that failed.

    ``timestamp_ms`` is the DLQ record's: dia gives it the original's, others may not.
    ``fields`` holds the last value of each header name.
    """

    dlq: TopicPartition
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    fields: dict[str, bytes]
    dialect: Dialect

    # --- where it came from ------------------------------------------------------------------

    @property
    def id(self) -> str:
        """Unique to the failed record for ever; where nobody named it, the place tells."""
        if named := self._text("id"):
            return named
        tp, offset = self.source_tp, self.source_offset
        if tp is None or offset is None:
            return f"{self.dlq}/{self.offset}"
        return f"{tp}/{offset}"

    @property
    def topic(self) -> str | None:
        """The source topic."""
        return self._text("topic")

    @property
    def partition(self) -> int | None:
        """The source partition."""
        return self._number("partition")

    @property
    def source_tp(self) -> TopicPartition | None:
        topic, partition = self.topic, self.partition
        if topic is None or partition is None:
            return None
        return TopicPartition(topic, partition)

    @property
    def source_offset(self) -> int | None:
        return self._number("offset")

    @property
    def source_timestamp_ms(self) -> int:
        """When the source topic appended it; the DLQ record's own time where nobody said."""
        found = self._number("timestamp")
        return self.timestamp_ms if found is None else found

    @property
    def source(self) -> SourceTopic | None:
        """The declared topic it came from; None for a topic that dia does not know."""
        return _BY_NAME.get(self.topic or "")

    # --- why it is here ----------------------------------------------------------------------

    @property
    def error_code(self) -> str:
        return self._text("error_code") or UNKNOWN

    @property
    def error_message(self) -> str:
        return self._text("error_message") or ""

    @property
    def stage(self) -> str:
        return self._text("stage") or UNKNOWN

    @property
    def agent(self) -> str:
        return self._text("agent") or UNKNOWN

    @property
    def group(self) -> str:
        return self._text("group") or UNKNOWN

    @property
    def attempts(self) -> int | None:
        return self._number("attempts")

    @property
    def first_failed_ms(self) -> int | None:
        return self._number("first_failed_at")

    @property
    def failed_ms(self) -> int:
        """When it became a dead letter: ages and ``--since`` count from here."""
        found = self._number("first_failed_at")
        return self.timestamp_ms if found is None else found

    @property
    def app_version(self) -> str:
        return self._text("app_version") or UNKNOWN

    @property
    def hops(self) -> int:
        """How many replays the failed record had been through."""
        found = self._number("replay_hops")
        if found is None:
            found = headers.decimal(self.fields.get(headers.REPLAY_HOPS))
        return found or 0

    # --- what it holds -----------------------------------------------------------------------

    @property
    def pointer(self) -> Pointer | None:
        """Set where headers, value and perhaps the key were left in the source topic."""
        if self.fields.get(_POINTER) != b"true" or self.value is not None:
            return None
        if _POINTER not in dict(self.headers[self._provenance_start :]):
            return None
        return Pointer(self._number("value_bytes") or 0, self._text("value_xxh3") or "")

    @property
    def schema_version(self) -> int | None:
        """None where the header is no number."""
        raw = self.fields.get(headers.SCHEMA)
        return _DEFAULT_SCHEMA if raw is None else headers.decimal(raw)

    @property
    def tenant(self) -> str:
        """Whose record it claims to be; "" where neither key nor value can tell."""
        source = self.source
        if source is not None and source.key_field == "tenant_id":
            if self.key is None or len(self.key) > _TENANT_MAX_BYTES:
                return ""
            return self.key.decode(errors="replace")
        try:
            return msgspec.json.decode(self.value or b"", type=_Tenanted).tenant_id
        except (ValueError, RecursionError):
            return ""

    @property
    def original_headers(self) -> Headers:
        """The failed record's own headers, without what was added when it was buried."""
        if self.dialect is DIA:
            return self.headers[: self._provenance_start]
        prefix = self.dialect.prefix
        if not prefix:
            return self.headers
        return tuple(pair for pair in self.headers if not pair[0].startswith(prefix))

    @property
    def added_headers(self) -> Headers:
        """The headers that were added when it was buried."""
        if self.dialect is DIA:
            return self.headers[self._provenance_start :]
        prefix = self.dialect.prefix
        return tuple(pair for pair in self.headers if prefix and pair[0].startswith(prefix))

    @property
    def _provenance_start(self) -> int:
        """Where dia's own headers begin: behind the original ones, which may hold some dia.dlq.*
        of an earlier life."""
        pairs = self.headers
        for index in range(len(pairs) - 1, -1, -1):
            if pairs[index][0] == _ID:
                return index
        return next((i for i, pair in enumerate(pairs) if pair[0].startswith(DIA.prefix)), 0)

    def original(self) -> Original:
        """The failed record, as far as it is here: of a pointer, `streams.dlq.pointer.refetch`
        gives the rest."""
        return Original(self.key, self.value, self.original_headers, self.source_timestamp_ms)

    def _text(self, field: str) -> str | None:
        return text(self.dialect.raw(self.fields, field))

    def _number(self, field: str) -> int | None:
        return self.dialect.number(self.dialect.raw(self.fields, field))


def letters(batch: RecordBatch) -> list[Letter]:
    """The records of a batch of a DLQ topic. Never raises, whatever they are."""
    fields = list(map(dict, batch.headers))
    return list(
        map(
            Letter,
            repeat(batch.tp),
            batch.offsets,
            batch.timestamps,
            batch.keys,
            batch.values,
            batch.headers,
            fields,
            map(dialect_of, fields),
        )
    )
