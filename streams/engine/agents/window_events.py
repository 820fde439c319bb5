"""What windows read of a batch of events: by columns of the scanner, or event by event.

Both give the same values, keys, refusals, identities and payloads, since a partition goes from one to
the other: kernels may be missing after a restart, and a batch of many unusual records is not scanned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.core.formats.plain_codecs import JSON
from streams.core.formats.scalar_fields import ScalarFields, scalar_fields
from streams.core.kernels.record_shape import NUMBER, TEXT, WHOLE
from streams.core.records.event_fields import Texts
from streams.core.records.faust_values import plain
from streams.core.records.text_spans import TextSpans
from streams.core.topics.topic import TENANT_FIELD, TENANT_MAX_CHARS, Topic, tenant_name
from streams.engine.agents.agent import EventBatch
from streams.engine.aggregates.aggregate import FieldType, FieldValues
from streams.engine.aggregates.field_columns import Refused, keys_of, values_of
from streams.engine.aggregates.scanned_columns import scanned_keys, scanned_values
from streams.engine.decode.scanned_events import ScannedFields
from streams.engine.windows.aggregated.state_shares import Tenants
from streams.engine.windows.aggregated.window_keys import BatchKeys, KeyColumns, KeyTuples
from streams.engine.windows.fingerprint import Fingerprints

_INT64: Final = range(-(1 << 63), 1 << 63)
Types: TypeAlias = Mapping[str, FieldType]

_encode = msgspec.msgpack.Encoder(order="deterministic").encode


def window_values(batch: EventBatch[Any], types: Types, bad: Refused) -> dict[str, FieldValues]:
    if batch.scanned is not None:
        return scanned_values(batch.scanned, types, bad)
    return values_of(batch.events, types, bad)


def window_keys(batch: EventBatch[Any], by: Sequence[str], types: Types, bad: Refused) -> BatchKeys:
    """The key of each event but those in ``bad``."""
    if batch.scanned is not None:
        return KeyColumns(scanned_keys(batch.scanned, by, types, bad))
    return KeyTuples(*keys_of(batch.events, by, types, bad))


def tenants_of(batch: EventBatch[Any]) -> Tenants:
    if batch.scanned is None:
        return Tenants.of(batch.events)
    names = _tenant_names(batch)
    if isinstance(names, TextSpans):
        return Tenants(lambda row: (names.text(row) or "")[:TENANT_MAX_CHARS])
    return Tenants(lambda row: (names[row] or "")[:TENANT_MAX_CHARS])


class Identified(NamedTuple):
    """Identity and payload of each event, and its owner, as `SeenEvents` takes them."""

    hi: NDArray[np.uint64]
    lo: NDArray[np.uint64]
    said: NDArray[np.uint64]
    owner: NDArray[np.int64]
    owners: Sequence[str]


class EventIds:
    """Of the events of a topic, by their field ``ids``. The declared type decides which form their
    payloads have, so that it is the same with and without kernels."""

    def __init__(self, topic: Topic, ids: str) -> None:
        self._ids = ids
        self._table = _scalars(topic)
        self._without = {ids}
        """fields that an identity has: events that are compared are equal in them"""
        if self._table is not None and not self._table.may_be_none(TENANT_FIELD):
            self._without.add(TENANT_FIELD)

    def of(self, batch: EventBatch[Any], prints: Fingerprints) -> Identified:
        macs, owner, owners = prints.owners(_tenant_names(batch))
        hi, lo = prints.identities(_texts(batch, self._ids), macs, batch.values())
        return Identified(hi, lo, self._said(batch, prints), owner, owners)

    def _said(self, batch: EventBatch[Any], prints: Fingerprints) -> NDArray[np.uint64]:
        if self._table is None:
            return prints.said([*map(_payload, batch.events, batch.values())])
        if batch.scanned is not None:
            return prints.scalars(batch.scanned, self._without)
        try:
            fields = ScannedFields.of_events(self._table, batch.events)
        except OverflowError:
            return self._said_of_all(batch, self._table, prints)
        return prints.scalars(fields, self._without)

    def _said_of_all(
        self, batch: EventBatch[Any], table: ScalarFields, prints: Fingerprints
    ) -> NDArray[np.uint64]:
        """Events with integers beyond 64 bits are compared as those of other types."""
        whole = [name for name in table.places if table.column(name, WHOLE) is not None]
        fits = np.array([_fits(event, whole) for event in batch.events], np.bool_)
        said, values = np.zeros(len(batch), np.uint64), batch.values()
        some = ScannedFields.of_events(table, [*compress(batch.events, fits)])
        said[fits] = prints.scalars(some, self._without)
        others = np.flatnonzero(~fits).tolist()
        said[others] = prints.said([_payload(batch.events[row], values[row]) for row in others])
        return said


def _fits(event: Any, whole: Sequence[str]) -> bool:
    values = (getattr(event, name) for name in whole)
    return all(value is None or value in _INT64 for value in values)


def _scalars(topic: Topic) -> ScalarFields | None:
    """The fields of the events if these are JSON of scalars. A float may not be an integer by
    default, as then events with equal fields could differ."""
    table = scalar_fields(topic.type) if topic.codec is JSON else None
    if table is None:
        return None
    defaults = {one.name: one.default for one in msgspec.structs.fields(topic.type)}
    whole = (
        type(defaults[name]) is int and table.column(name, NUMBER) is not None
        for name in table.places
    )
    return None if any(whole) else table


def _tenant_names(batch: EventBatch[Any]) -> Texts:
    """As `tenant_name` of each event."""
    fields = batch.scanned
    if fields is None:
        return [*map(tenant_name, batch.events)]
    if TENANT_FIELD not in fields.table.places:
        return [""] * len(batch)
    texts = _texts(batch, TENANT_FIELD)
    if isinstance(texts, TextSpans) and texts.absent is None:
        return texts
    return [one or "" for one in (texts.texts() if isinstance(texts, TextSpans) else texts)]


def _texts(batch: EventBatch[Any], name: str) -> Texts:
    """A field of each event as text; None for null."""
    fields = batch.scanned
    if fields is None:
        values = [getattr(event, name) for event in batch.events]
    elif fields.table.column(name, TEXT) is not None:
        return fields.texts(name)
    else:
        lacking = fields.lacking(name).tolist()
        pairs = zip(fields.filled(name).tolist(), lacking, strict=True)
        values = [None if lacks else value for value, lacks in pairs]
    return [None if value is None else str(value) for value in values]


def _payload(event: Any, value: bytes | None) -> bytes:
    """What repeats are compared by. An event that MessagePack cannot hold (integers beyond 64 bits,
    depth) is compared by its record's bytes."""
    try:
        return _encode(plain(event))
    except (OverflowError, RecursionError, TypeError, ValueError):
        return value or b""
