"""Scans batches into columns by compiled kernels; `decode` handles the remaining records.

The kernels judge a record alone if it has no relevant headers, a value of the strict subset
(streams/core/kernels/objects.py), a key equal to its key field, and a time within the limits. Every
other record is *slow*: `decode` judges it. If many are slow, `decode` judges the whole batch.

The law (tests/properties/test_scan_laws.py): positions, times, bad records and events equal those
of `decode`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from streams.core import kernels
from streams.core.formats.plain_codecs import JSON
from streams.core.formats.scalar_fields import ScalarFields, scalar_fields
from streams.core.kernels.record_shape import MAY_LACK, NULLABLE, PADDING, TEXT, WHOLE
from streams.core.records.framed_batch import places_of
from streams.core.records.headers import UNNAMED_VERSION
from streams.core.topics.topic import MAX_RECORD_BYTES, Topic
from streams.core.types import RecordBatch
from streams.engine.decode.codecs import Decoded, Limits, decode, read_one
from streams.engine.decode.envelopes import open_envelopes
from streams.engine.decode.scanned_events import ScannedEvents, ScannedFields


@dataclass(frozen=True, slots=True, eq=False)
class Scanner:
    topic: Topic
    table: ScalarFields
    key_column: int | None
    """row of the key field among the texts; None: no key field"""
    time_column: int | None
    """row of the time field among the integers; None: the append time is used"""
    slow_share_max: float = 1 / 8
    """share of a batch; above it, columns cost more than they save"""

    @classmethod
    def of(cls, topic: Topic) -> Scanner | None:
        """None without kernels, or if they do not support this topic."""
        way = topic.reading(UNNAMED_VERSION) if UNNAMED_VERSION in topic.versions else None
        if kernels.active is None or way is None or way.steps or topic.needs:
            return None
        table = scalar_fields(way.type) if topic.codec is JSON else None
        if table is None:
            return None
        key_column, time_column = (
            _always(table, name, kind)
            for name, kind in ((topic.key_field, TEXT), (topic.time_field, WHOLE))
        )
        if (key_column is None and topic.key_field) or (time_column is None and topic.time_field):
            return None
        return cls(topic, table, key_column, time_column)

    def decode(self, batch: RecordBatch, limits: Limits) -> Decoded:
        """The result of `codecs.decode`, with ``fields`` if few records are slow."""
        envelope = open_envelopes(self.topic, batch)
        append_ms = envelope.append_ms
        slow = np.zeros(len(batch), np.bool_)
        slow[[*envelope.versions, *envelope.bad]] = True
        fields = self.scan(batch, slow)
        event_ms = append_ms
        if self.time_column is not None:
            event_ms = fields.whole_values[self.time_column]
            slow |= event_ms < append_ms - limits.late_max_s * 1000
            slow |= event_ms > append_ms + limits.future_max_s * 1000
        rows = np.flatnonzero(slow)
        if not len(rows):
            return Decoded(self._events(batch, None, {}), None, event_ms, append_ms, [], fields)
        if len(rows) > self.slow_share_max * len(batch):
            return decode(self.topic, batch, limits)
        return self._with_slow(batch, limits, fields, rows, event_ms.copy(), append_ms)

    def scan(self, batch: RecordBatch, slow: NDArray[np.bool_]) -> ScannedFields:
        """The fields of all records; marks the slow ones."""
        loops = kernels.active
        assert loops is not None, "a scanner is made where kernels are loaded"
        count = len(batch)
        keys, values = places_of(batch)
        if values.absent is not None:
            slow |= values.absent
        slow |= values.size > (self.topic.bytes_max or MAX_RECORD_BYTES)
        fields, table = ScannedFields.empty(self.table, values.buffer, count), self.table
        arena = np.empty(len(values.buffer), np.uint8)
        used = loops.scan(
            values.buffer, values.at, values.size, table.names, table.shape, table.bounds,
            table.passes, arena, fields.text_at, fields.text_size, fields.whole_values,
            fields.number_values, fields.absent, slow,
        )  # fmt: skip
        if used:
            fields = fields.behind(arena[: used + PADDING])
        if self.key_column is not None:
            if keys.absent is not None:
                slow |= keys.absent
            # The keys are in the first part of this buffer.
            loops.mark_other_keys(
                fields.buffer, keys.at, keys.size,
                fields.text_at[self.key_column], fields.text_size[self.key_column], slow,
            )  # fmt: skip
        return fields

    def _with_slow(
        self,
        batch: RecordBatch,
        limits: Limits,
        fields: ScannedFields,
        rows: NDArray[np.intp],
        event_ms: NDArray[np.int64],
        append_ms: NDArray[np.int64],
    ) -> Decoded:
        read = decode(self.topic, batch.take(rows.tolist()), limits)
        good = rows if read.positions is None else rows[read.positions]
        bad = [one._replace(position=int(rows[one.position])) for one in read.bad]
        try:
            fields = fields.with_events(good, read.events)
        except OverflowError:
            return decode(self.topic, batch, limits)
        event_ms[good] = read.event_ms
        known = dict(zip(good.tolist(), read.events, strict=True))
        if not bad:
            return Decoded(self._events(batch, None, known), None, event_ms, append_ms, [], fields)
        kept = np.ones(len(batch), np.bool_)
        kept[[one.position for one in bad]] = False
        at = np.flatnonzero(kept)
        events = self._events(batch, at, known)
        return Decoded(
            events, cast(Sequence[int], at), event_ms[at], append_ms[at], bad, fields.take(at)
        )

    def _events(
        self, batch: RecordBatch, rows: NDArray[np.intp] | None, known: dict[int, Any]
    ) -> ScannedEvents:
        return ScannedEvents(lambda value: read_one(self.topic, value), batch.values, rows, known)


def _always(table: ScalarFields, name: str, kind: int) -> int | None:
    column = table.column(name, kind)
    if column is None or table.shape[table.places[name], [NULLABLE, MAY_LACK]].any():
        return None
    return column
