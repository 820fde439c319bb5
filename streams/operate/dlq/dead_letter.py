"""One record of a DLQ topic with its parsed headers. Its content is untrusted.

Commands scan millions of them: common fields are parsed by column, other headers on access."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple, cast

import msgspec
from msgspec import Struct

from streams.connect.broker.log_range import read_some
from streams.core.errors import BatchUnreadable, RecordLost, UnknownTopic
from streams.core.records import headers
from streams.core.topics.topic import TENANT_FIELD, Topic
from streams.core.topics.topology import Topology
from streams.core.types import Headers, LogReader, OffsetOutOfRange, RecordBatch, TopicPartition
from streams.operate.dlq.dialects import Dialect, HeaderColumns, dialect_of, text

UNKNOWN = "unknown"

SINK_STAGE = "sink"
"""The value is a row that a shard or a sink refused, not a record of the source topic."""
PROCESS_STAGE = "process"
"""The record decoded, and its agent refused it."""

_POINTER = headers.DLQ_PREFIX + "pointer"
_DEFAULT_SCHEMA = 1
_TENANT_MAX_BYTES = 512


class Original(NamedTuple):
    """The failed record as it was in its topic."""

    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int


class Pointer(NamedTuple):
    value_bytes: int
    value_sha256: str


class _Tenanted(Struct):
    tenant_id: str | int


_tenanted = msgspec.json.Decoder(_Tenanted).decode


class DeadLetterRecord(Struct, frozen=True, gc=False, kw_only=True):
    """``timestamp_ms`` is the DLQ record's: dia copies the original's, other writers may not.
    ``fields`` holds the last value of each header name."""

    dlq: TopicPartition
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    fields: dict[str, bytes]
    dialect: Dialect

    id: str
    """of the failed record; without a header, the place in the DLQ"""
    topic: str | None
    partition: int | None
    source_offset: int | None
    source_timestamp_ms: int
    """append time; without a header, the DLQ record's time"""
    source: Topic | None
    """None for an undeclared topic"""
    error_code: str
    stage: str
    failed_ms: int
    """the base of ages and ``--since``"""
    hops: int

    @property
    def source_tp(self) -> TopicPartition | None:
        if self.topic is None or self.partition is None:
            return None
        return TopicPartition(self.topic, self.partition)

    @property
    def error_message(self) -> str:
        return self._text("error_message") or ""

    @property
    def path(self) -> str:
        """The field that the message names first, as in "$.value: Expected ..."; "" for others."""
        named, colon, _ = self.error_message.partition(":")
        return named if colon and (named.startswith("$") or named == "key") else ""

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
    def app_version(self) -> str:
        return self._text("app_version") or UNKNOWN

    @property
    def pointer(self) -> Pointer | None:
        """Set when headers, value and perhaps the key are only in the source topic."""
        if self.fields.get(_POINTER) != b"true" or self.value is not None:
            return None
        return Pointer(self._number("value_bytes") or 0, self._text("value_sha256") or "")

    @property
    def schema_version(self) -> int | None:
        """None where the header is no number."""
        raw = self.fields.get(headers.SCHEMA)
        return _DEFAULT_SCHEMA if raw is None else headers.decimal(raw)

    @property
    def tenant(self) -> str:
        """The tenant that the record claims; "" when neither key nor value names one."""
        source = self.source
        if source is not None and source.tenant_field is None:
            return ""
        if source is not None and source.key_is_tenant:
            if self.key is None or len(self.key) > _TENANT_MAX_BYTES:
                return ""
            return self.key.decode(errors="replace")
        return tenant_named(self.value)

    @property
    def original_headers(self) -> Headers:
        prefix = self.dialect.prefix
        if not prefix:
            return self.headers
        return tuple(pair for pair in self.headers if not pair[0].startswith(prefix))

    @property
    def added_headers(self) -> Headers:
        prefix = self.dialect.prefix
        return tuple(pair for pair in self.headers if prefix and pair[0].startswith(prefix))

    def original(self) -> Original:
        """The failed record as far as the DLQ holds it; `refetch` reads the rest of a pointer."""
        return Original(self.key, self.value, self.original_headers, self.source_timestamp_ms)

    def _text(self, field: str) -> str | None:
        return text(self.dialect.raw(self.fields, field))

    def _number(self, field: str) -> int | None:
        return self.dialect.number(self.dialect.raw(self.fields, field))


def tenant_named(value: bytes | None) -> str:
    """ "" when unreadable or unnamed."""
    try:
        return str(_tenanted(value or b"").tenant_id)
    except (ValueError, RecursionError):
        return ""


def tenant_in(fields: Mapping[str, Any]) -> str:
    """The tenant that the fields of an event name, as `tenant_name` of the event; "" for none."""
    tenant = fields.get(TENANT_FIELD)
    return "" if tenant is None else str(tenant)


def letters(batch: RecordBatch, topology: Topology) -> list[DeadLetterRecord]:
    """The records of a batch of a DLQ topic. Never raises."""
    fields = list(map(dict, batch.headers))
    dialects = list(map(dialect_of, fields))
    found: list[DeadLetterRecord | None] = [None] * len(fields)
    for dialect in {dialect.name: dialect for dialect in dialects}.values():
        own = [index for index, one in enumerate(dialects) if one is dialect]
        for index, letter in zip(own, _written(batch, own, fields, dialect, topology), strict=True):
            found[index] = letter
    return cast("list[DeadLetterRecord]", found)


def _written(
    batch: RecordBatch,
    own: Sequence[int],
    every: Sequence[dict[str, bytes]],
    dialect: Dialect,
    topology: Topology,
) -> Iterator[DeadLetterRecord]:
    """The records at the positions ``own``, all of one dialect."""
    fields = [every[index] for index in own]
    said = HeaderColumns(dialect, fields)
    topics, partitions, offsets = (
        said.texts("topic"),
        said.numbers("partition"),
        said.numbers("offset"),
    )
    rows = zip(
        own, fields, said.texts("id"), topics, partitions, offsets, said.numbers("timestamp"),
        said.texts("error_code"), said.texts("stage"), said.numbers("first_failed_at"),
        said.numbers("replay_hops"), strict=True,
    )  # fmt: skip
    for (
        at,
        own_fields,
        named,
        topic,
        partition,
        offset,
        appended,
        code,
        stage,
        failed,
        hops,
    ) in rows:
        time_ms = batch.timestamps[at]
        yield DeadLetterRecord(
            dlq=batch.tp,
            offset=batch.offsets[at],
            timestamp_ms=time_ms,
            key=batch.keys[at],
            value=batch.values[at],
            headers=batch.headers[at],
            fields=own_fields,
            dialect=dialect,
            id=named or _place(batch, at, topic, partition, offset),
            topic=topic,
            partition=partition,
            source_offset=offset,
            source_timestamp_ms=time_ms if appended is None else appended,
            source=topology.by_name.get(topic or ""),
            error_code=code or UNKNOWN,
            stage=stage or UNKNOWN,
            failed_ms=time_ms if failed is None else failed,
            hops=headers.hops(batch.headers[at])
            if hops is None
            else min(hops, headers.HOPS_CEILING),
        )


def _place(
    batch: RecordBatch, at: int, topic: str | None, partition: int | None, offset: int | None
) -> str:
    if topic is None or partition is None or offset is None:
        return f"{batch.tp}/{batch.offsets[at]}"
    return f"{TopicPartition(topic, partition)}/{offset}"


async def refetch(reader: LogReader, letter: DeadLetterRecord) -> Original:
    """The failed record, read from its source topic and verified by its hash. Raises `RecordLost`
    and `BrokerUnavailable`."""
    pointer, tp, offset = letter.pointer, letter.source_tp, letter.source_offset
    if pointer is None or tp is None or offset is None:
        raise RecordLost(f"{letter.dlq}/{letter.offset} does not say where its record lies.")
    try:
        end = await reader.last_stable_offset(tp)
        batch = await read_some(reader, tp, offset, end, 1) if offset < end else None
    except (OffsetOutOfRange, UnknownTopic):
        batch = None
    except BatchUnreadable as error:
        raise RecordLost(
            f"{tp} holds offset {offset} in a batch that cannot be opened any more ({error.why}), and "
            f"the DLQ keeps only a pointer. `dia dlq discard` records that the record is gone."
        ) from error
    if batch is None or batch.offsets[:1] != [offset]:
        raise RecordLost(
            f"{tp} no longer holds offset {offset}: its retention has deleted the record, of which "
            f"the DLQ keeps only a pointer. `dia dlq discard` records that it is gone."
        )
    if sha256(batch.values[0] or b"").hexdigest() != pointer.value_sha256:
        raise RecordLost(
            f"{tp} holds another record at offset {offset} than the one that failed: the topic was "
            f"deleted and made again. `dia dlq discard` records that the record is gone."
        )
    return Original(batch.keys[0], batch.values[0], batch.headers[0], letter.source_timestamp_ms)
