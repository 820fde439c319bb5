"""Reads the headers of a batch: schema versions and first append times."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from streams.core.records import headers
from streams.core.records.bad_records import UnknownSchemaVersion, WrongType
from streams.core.records.defects import Defect, defect
from streams.core.records.framed_batch import timestamp_array
from streams.core.records.headers import UNNAMED_VERSION
from streams.core.topics.topic import Topic
from streams.core.types import RecordBatch


@dataclass(slots=True)
class Envelope:
    """By position in the batch: the append time to judge by, schema versions other than
    `UNNAMED_VERSION`, and records refused for their headers."""

    append_ms: NDArray[np.int64]
    versions: dict[int, int] = field(default_factory=dict)
    bad: dict[int, Defect] = field(default_factory=dict)


def open_envelopes(topic: Topic, batch: RecordBatch) -> Envelope:
    if not batch.any_headers():
        return Envelope(timestamp_array(batch))
    envelope = Envelope(timestamp_array(batch).copy())
    for i in batch.rows_with_headers():
        named = dict(batch.headers[i])
        if headers.SCHEMA in named:
            _read_version(topic, named[headers.SCHEMA], i, envelope)
        if headers.REPLAY_APPEND_TS in named and i not in envelope.bad:
            _read_append_ts(named[headers.REPLAY_APPEND_TS], i, envelope)
    return envelope


def _read_version(topic: Topic, raw: bytes, i: int, envelope: Envelope) -> None:
    version = headers.decimal(raw)
    if version is None or version not in topic.versions:
        known = ", ".join(map(str, topic.versions))
        what = f"expected a schema version of {topic.schema} ({known})"
        envelope.bad[i] = defect(UnknownSchemaVersion.code, headers.SCHEMA, what)
    elif version != UNNAMED_VERSION:
        envelope.versions[i] = version


def _read_append_ts(raw: bytes, i: int, envelope: Envelope) -> None:
    """A header can make a record older but not younger, so no client advances time. A later time is
    that of a broker whose clock was ahead of this one's."""
    first_ms = headers.decimal(raw)
    if first_ms is None:
        path = headers.REPLAY_APPEND_TS
        envelope.bad[i] = defect(WrongType.code, path, "expected decimal milliseconds")
    else:
        envelope.append_ms[i] = min(first_ms, int(envelope.append_ms[i]))
