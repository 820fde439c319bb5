"""Bytes to events, a whole batch at a time; a bad record costs itself, never its batch.

Each record is decoded alone, so that no record can bleed into its neighbour; the loop over them
runs in C and resumes behind the record that failed. What can be checked for all records at once
(sizes, keys, times) is; only when such a check fails are the culprits looked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import compress
from operator import attrgetter, call, ne, not_
from typing import Any, NamedTuple, TypeAlias, cast

import msgspec
import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_digest

from streams.bad_records import (
    KeyMismatch,
    MissingField,
    TimestampInFuture,
    TimestampTooOld,
    TooLarge,
)
from streams.defects import Defect, bad_utf8, defect, undecodable
from streams.envelopes import Envelope, open_envelopes
from streams.headers import UNNAMED_VERSION, of_version
from streams.records import is_record, plain
from streams.topic import MAX_RECORD_BYTES, Topic, VersionReading
from streams.types import RecordBatch, TopicPartition
from streams.whole_numbers import decode_whole

_Decoder: TypeAlias = Callable[[bytes], Any]

# All that decoding arbitrary bytes, or the absence of any, was ever seen to raise: msgspec's own
# errors and UnicodeDecodeError are ValueErrors.
_decode_any = msgspec.json.Decoder().decode
_DECODE_ERRORS = (ValueError, TypeError, RecursionError)


CLOCK_MARGIN_S = 5
APPEND_MARGIN_S = 60


class Limits(NamedTuple):
    """How far an event's time may lie from its append time, in seconds."""

    future_max_s: int
    late_max_s: int


def with_margin(future_max_s: int, late_max_s: int) -> Limits:
    """Limits for events that are appended later, and by another clock, than they are checked: what
    keeps to these keeps to the given ones up to a minute later, and up to 5 s of clock apart."""
    return Limits(
        future_max_s - min(CLOCK_MARGIN_S, future_max_s // 10),
        late_max_s - min(APPEND_MARGIN_S, late_max_s // 10),
    )


class BadPosition(NamedTuple):
    """A record that is refused: its index in the batch, and why."""

    position: int
    code: str
    message: str
    path: str


@dataclass(slots=True, eq=False)
class Decoded:
    """The good records of a batch as columns of equal length, and the bad ones with reasons.

    ``positions[i]`` is the index in the batch of ``events[i]``; None says that every record is
    good, in order. ``append_ms`` is the time each record is judged by: its append time or, for
    a replayed record, its first append time. ``bad`` ascends by position.
    """

    events: list[Any]
    positions: list[int] | None
    event_ms: NDArray[np.int64]
    append_ms: NDArray[np.int64]
    bad: list[BadPosition]


@dataclass(frozen=True, slots=True)
class _Codec:
    """What decoding one topic needs, prepared once."""

    topic: Topic
    decoders: dict[int, _Decoder]
    ways: dict[int, VersionReading]
    key_of: Callable[[Any], Any] | None
    time_of: Callable[[Any], int] | None


def decode(topic: Topic, batch: RecordBatch, limits: Limits) -> Decoded:
    """Decode every record of ``batch``. Never raises, whatever the bytes are."""
    return _decode(topic, batch, batch.keys, limits)


def check(
    topic: Topic,
    values: list[bytes],
    now_ms: int,
    limits: Limits,
    version: int = UNNAMED_VERSION,
) -> tuple[Decoded, list[bytes]]:
    """Before sending: what `decode` will say of these values if they are appended at ``now_ms``
    with the headers of ``version``, and the key each good one must be sent with: in a topic
    without a key field any will do, and it spreads them."""
    n = len(values)
    batch = RecordBatch(
        TopicPartition(topic.name, 0), 0, n, [*range(n)], [now_ms] * n, [None] * n, [*values],
        [of_version(version)] * n,
    )  # fmt: skip
    decoded = _decode(topic, batch, None, limits)
    codec = _codec(topic)
    if codec.key_of is None:
        return decoded, [xxh3_64_digest(msgspec.json.encode(plain(e))) for e in decoded.events]
    return decoded, _keys(codec.key_of, decoded.events)


def _decode(
    topic: Topic, batch: RecordBatch, keys: list[bytes | None] | None, limits: Limits
) -> Decoded:
    """``keys`` None: every key is right."""
    codec = _codec(topic)
    envelope = open_envelopes(topic, batch)
    _check_bytes(batch.values, topic.bytes_max or MAX_RECORD_BYTES, envelope.bad)
    positions: Sequence[int] = range(len(batch))
    values: Sequence[bytes | None] = batch.values
    if envelope.bad:
        positions = _without(envelope.bad, positions)
        values = _without(envelope.bad, values)

    def again(i: int, error: Exception) -> Any:
        version = envelope.versions.get(positions[i], UNNAMED_VERSION)
        return _whole_numbers(codec.ways[version], values[i], error)

    events, failed = _read(_decoded(codec, envelope.versions, positions, values), values, again)
    if failed:
        envelope.bad.update((positions[i], found) for i, found in failed.items())
        positions = _without(failed, positions)
    if keys is not None and envelope.bad:
        keys = _without(envelope.bad, keys)
    return _judge(codec, envelope, events, positions, keys, limits=limits)


def _judge(
    codec: _Codec,
    envelope: Envelope,
    events: list[Any],
    positions: Sequence[int],
    keys: list[bytes | None] | None,
    *,
    limits: Limits,
) -> Decoded:
    """Check keys, times and needs of what decoded, and assemble the answer."""
    append_ms = np.array(envelope.append_ms, np.int64)
    if envelope.bad:
        append_ms = np.delete(append_ms, [*envelope.bad])
    if codec.time_of is None:
        event_ms, refused = append_ms, {}
    else:
        event_ms = np.fromiter(map(codec.time_of, events), np.int64, len(events))
        refused = _wrong_times(codec, event_ms, append_ms, limits)
    if keys is not None and codec.key_of is not None:
        refused.update(_wrong_keys(codec, events, keys))
    if codec.topic.needs:
        refused.update(_unmet_needs(codec.topic, events))
    if refused:
        envelope.bad.update((positions[i], found) for i, found in refused.items())
        event_ms, append_ms = (np.delete(column, [*refused]) for column in (event_ms, append_ms))
        events, positions = (_without(refused, column) for column in (events, positions))
    bad = [BadPosition(i, *envelope.bad[i]) for i in sorted(envelope.bad)]
    return Decoded(events, list(positions) if bad else None, event_ms, append_ms, bad)


@lru_cache(maxsize=256)
def _codec(topic: Topic) -> _Codec:
    ways = {version: topic.reading(version) for version in topic.versions}
    return _Codec(
        topic=topic,
        decoders={version: _decoder(way) for version, way in ways.items()},
        ways=ways,
        key_of=attrgetter(topic.key_field) if topic.key_field else None,
        time_of=attrgetter(topic.time_field) if topic.time_field else None,
    )


def _decoder(way: VersionReading) -> _Decoder:
    if is_record(way.type):
        return lambda value: way.type.from_data(_decode_any(value))
    decode_json: _Decoder = msgspec.json.Decoder(way.type).decode
    if not way.steps:
        return decode_json

    def decode_and_upcast(value: bytes) -> Any:
        event = decode_json(value)
        for step in way.steps:
            event = step(event)
        return event

    return decode_and_upcast


def _decoded(
    codec: _Codec,
    versions: dict[int, int],
    positions: Sequence[int],
    values: Sequence[bytes | None],
) -> Iterable[Any]:
    """An iterator over the decoded values that goes on behind a value that raised."""
    decoders: dict[int, Callable[..., Any]] = codec.decoders
    if not versions:
        return map(decoders[UNNAMED_VERSION], values)
    chosen = [decoders[versions.get(i, UNNAMED_VERSION)] for i in positions]
    # Not a generator expression, which would end at its first exception.
    return map(cast("Callable[..., Any]", call), chosen, values)


def _whole_numbers(way: VersionReading, value: bytes | None, error: Exception) -> Any:
    """The event of a value whose integers are written as decimal numbers; else raises."""
    if is_record(way.type):
        raise error
    event = decode_whole(value or b"", way.type, error)
    for step in way.steps:
        event = step(event)
    return event


def _read(
    decoded: Iterable[Any],
    values: Sequence[bytes | None],
    again: Callable[[int, Exception], Any],
) -> tuple[list[Any], dict[int, Defect]]:
    """Every event, and the defect of each value (by index) that has none. ``again`` decodes the
    value of an index another way, or raises why not."""
    events: list[Any] = []
    failed: dict[int, Defect] = {}
    while True:
        try:
            # What was appended before an exception stays in the list: `extend` is resumable.
            events.extend(decoded)
        except _DECODE_ERRORS as error:
            index = len(events) + len(failed)
            try:
                events.append(again(index, error))
            except _DECODE_ERRORS as final:
                failed[index] = undecodable(values[index], final)
                # The frames of its traceback hold it, and the batch: memory until a collection.
                final.__traceback__ = None
        else:
            return events, failed


def _check_bytes(values: Sequence[bytes | None], bytes_max: int, bad: dict[int, Defect]) -> None:
    """Sizes and encodings. msgspec skips unknown fields unread, so it would let any bytes
    through there; the DLQ, the spool and the console rely on values being UTF-8."""
    suspects: Iterable[int] = range(len(values))
    try:
        plain: list[Any] = values  # type: ignore[assignment]  # None raises, as intended
        plainly_utf8 = list(map(bytes.isascii, plain))
        if max(map(len, plain), default=0) <= bytes_max:
            suspects = compress(suspects, map(not_, plainly_utf8))
    except TypeError:
        pass
    for i in suspects:
        value = values[i]
        if i in bad or value is None:
            continue
        if len(value) > bytes_max:
            what = f"expected at most {bytes_max} bytes, got {len(value)}"
            bad[i] = defect(TooLarge.code, "$", what)
        elif not value.isascii() and (found := bad_utf8(value)) is not None:
            bad[i] = found


def _keys(key_of: Callable[[Any], Any], events: list[Any]) -> list[bytes]:
    try:
        return list(map(str.encode, map(key_of, events)))
    except TypeError:  # a field of another type than text
        return [str(key_of(event)).encode() for event in events]


def _wrong_keys(codec: _Codec, events: list[Any], keys: list[bytes | None]) -> dict[int, Defect]:
    assert codec.key_of is not None
    expected = _keys(codec.key_of, events)
    if expected == keys:
        return {}
    wrong = {}
    for i in compress(range(len(keys)), map(ne, keys, expected)):
        key, want = keys[i], expected[i]
        got = "no key" if key is None else repr(key[:80])
        what = f"expected the bytes of $.{codec.topic.key_field}, {want[:80]!r}, got {got}"
        wrong[i] = defect(KeyMismatch.code, "key", what)
    return wrong


def _unmet_needs(topic: Topic, events: list[Any]) -> dict[int, Defect]:
    """Events without a field that their kind needs."""
    unmet = {}
    for need in topic.needs:
        kinds, needed = attrgetter(need.field), attrgetter(need.needs)
        for i, event in enumerate(events):
            if kinds(event) == need.value and needed(event) is None:
                what = f"{need.value} needs this field"
                unmet[i] = defect(MissingField.code, f"$.{need.needs}", what)
    return unmet


def _wrong_times(
    codec: _Codec, event_ms: NDArray[np.int64], append_ms: NDArray[np.int64], limits: Limits
) -> dict[int, Defect]:
    first_ms, last_ms = append_ms - limits.late_max_s * 1000, append_ms + limits.future_max_s * 1000
    path = f"$.{codec.topic.time_field}"
    wrong = {}
    for i in np.flatnonzero((event_ms < first_ms) | (event_ms > last_ms)).tolist():
        at, append = event_ms[i], append_ms[i]
        if at > append:
            what = f"expected at most {limits.future_max_s} s after the append time {append}"
            wrong[i] = defect(TimestampInFuture.code, path, f"{what}, got {at}")
        else:
            what = f"expected at most {limits.late_max_s} s before the append time {append}"
            wrong[i] = defect(TimestampTooOld.code, path, f"{what}, got {at}")
    return wrong


def _without(bad: Iterable[int], column: Sequence[Any]) -> list[Any]:
    """The column without the rows at the given indexes."""
    keep = bytearray(b"\x01") * len(column)
    for i in bad:
        keep[i] = 0
    return list(compress(column, keep))
