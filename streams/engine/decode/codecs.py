"""Decodes a batch; a bad record does not affect the others. See docs/protocols/decoding.md."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import compress
from operator import attrgetter, itemgetter, ne, not_
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_digest

from streams.core.errors import Pending, SchemaRegistryUnavailable
from streams.core.formats.codec import DECODE_ERRORS, BatchDecoder, Codec, Read, guarded
from streams.core.formats.plain_codecs import JSON
from streams.core.formats.registry_codec import RegistryCodec
from streams.core.records.bad_records import (
    KeyMismatch,
    MissingField,
    TimestampInFuture,
    TimestampTooOld,
    TooLarge,
    ValueRefused,
)
from streams.core.records.defects import Defect, bad_utf8, defect, undecodable
from streams.core.records.headers import UNNAMED_VERSION, of_version
from streams.core.topics.topic import MAX_RECORD_BYTES, Topic, VersionReading
from streams.core.types import RecordBatch, TopicPartition
from streams.engine.decode.envelopes import Envelope, open_envelopes
from streams.engine.decode.event_times import FIRST_MS, LAST_MS, event_times
from streams.engine.decode.scanned_events import ScannedEvents, ScannedFields

T = TypeVar("T")

CLOCK_MARGIN_S = 5
APPEND_MARGIN_S = 60
_ASKS_MAX = 16
"""one for each schema version that is read or written, and some for schemas that other partitions
evict meanwhile"""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECONDS_MIN, SECONDS_MAX = 1_000_000_000, 10_000_000_000
"""Seconds of the years 2001 to 2286; as milliseconds they lie in the first four months of 1970."""
_FINER = {"microseconds": 1000, "nanoseconds": 1_000_000}
"""by unit, how many make a millisecond"""


class Limits(NamedTuple):
    """Bounds of the event time relative to the append time, in seconds."""

    future_max_s: int
    late_max_s: int


def with_margin(future_max_s: int, late_max_s: int) -> Limits:
    """Tighter limits for checks before the append: events within them still keep the given limits
    up to a minute later, with clocks up to 5 s apart."""
    return Limits(
        future_max_s - min(CLOCK_MARGIN_S, future_max_s // 10),
        late_max_s - min(APPEND_MARGIN_S, late_max_s // 10),
    )


class BadPosition(NamedTuple):
    """A refused record: its index in the batch, and why."""

    position: int
    code: str
    message: str
    path: str


@dataclass(slots=True, eq=False)
class Decoded:
    """The good records of a batch as columns of equal length, and the bad ones with reasons.

    ``positions[i]`` is the index in the batch of ``events[i]``; None: every record is good, in
    order. ``append_ms`` is the append time or, of a replayed record, its first append time. ``bad``
    ascends by position.
    """

    events: Sequence[Any]
    positions: Sequence[int] | None
    event_ms: NDArray[np.int64]
    append_ms: NDArray[np.int64]
    bad: list[BadPosition]
    fields: ScannedFields | None = None

    def without(self, bad: list[BadPosition], records: int) -> Decoded:
        """Move some good records to the bad ones; the batch has ``records``."""
        positions = np.arange(records) if self.positions is None else np.array(self.positions)
        kept = ~np.isin(positions, [one.position for one in bad])
        at, events = np.flatnonzero(kept), self.events
        return Decoded(
            events.take(at) if isinstance(events, ScannedEvents) else [*compress(events, kept)],
            positions[kept].tolist(),
            self.event_ms[kept],
            self.append_ms[kept],
            sorted([*self.bad, *bad]),
            None if self.fields is None else self.fields.take(at),
        )


@dataclass(frozen=True, slots=True)
class _Reader:
    topic: Topic
    by_version: Mapping[int, BatchDecoder]
    key_of: Callable[[Any], Any] | None
    time_of: Callable[[Any], Any] | None


def decode(topic: Topic, batch: RecordBatch, limits: Limits) -> Decoded:
    """Decode every record of ``batch``. No bytes make it raise; `DiaError` and MemoryError of the
    codec pass."""
    return _decode(topic, batch, batch.keys, limits)


def read_one(topic: Topic, value: bytes) -> Any:
    """The event of a value that is good and of the version without a header."""
    [event] = _reader(topic).by_version[UNNAMED_VERSION]([value]).events
    return event


def check(
    topic: Topic,
    values: list[bytes],
    now_ms: int,
    limits: Limits,
    version: int = UNNAMED_VERSION,
) -> tuple[Decoded, list[bytes]]:
    """What `decode` will return for these values if appended at ``now_ms`` with the headers of
    ``version``, and the record key of each good one. Without a key field it is a hash, which
    spreads the records."""
    n = len(values)
    batch = RecordBatch(
        TopicPartition(topic.name, 0), 0, n, [*range(n)], [now_ms] * n, [None] * n, [*values],
        [of_version(version)] * n,
    )  # fmt: skip
    decoded = _decode(topic, batch, None, limits)
    reader = _reader(topic)
    if reader.key_of is None:
        codec = topic.codec
        encode = codec.documents.encode if isinstance(codec, RegistryCodec) else codec.encode
        return decoded, [xxh3_64_digest(encode(event)) for event in decoded.events]
    return decoded, [key for key in _keys(reader.key_of, decoded.events) if key is not None]


def outgoing(
    topic: Topic,
    documents: list[bytes],
    now_ms: int,
    limits: Limits,
    version: int = UNNAMED_VERSION,
) -> tuple[Decoded, list[bytes], list[bytes]]:
    """As `check`, for events that are JSON whatever the codec, and the values to send for the good
    events. If the codec is not JSON, events of older versions are sent as the latest."""
    if topic.codec is JSON:
        decoded, keys = check(topic, documents, now_ms, limits, version)
        good = decoded.positions
        return decoded, keys, documents if good is None else [documents[i] for i in good]
    decoded, keys = checked(topic, documents, now_ms, limits, version)
    return _encoded(topic, decoded, keys)


def checked(
    topic: Topic,
    documents: list[bytes],
    now_ms: int,
    limits: Limits,
    version: int = UNNAMED_VERSION,
) -> tuple[Decoded, list[bytes]]:
    """As `check`, for events that are JSON documents."""
    return check(replace(topic, codec=_documents(topic)), documents, now_ms, limits, version)


def _documents(topic: Topic) -> Codec:
    codec = topic.codec
    return codec.documents if isinstance(codec, RegistryCodec) else JSON


def _encoded(
    topic: Topic, decoded: Decoded, keys: list[bytes]
) -> tuple[Decoded, list[bytes], list[bytes]]:
    """Encode the events. One that the codec refuses moves to the bad ones."""
    values: list[bytes] = []
    refused: dict[int, Defect] = {}
    for row, event in enumerate(decoded.events):
        try:
            values.append(topic.codec.encode(event))
        except ValueRefused as error:
            refused[row] = defect(error.code, "$", str(error))
    if not refused:
        return decoded, keys, values
    positions = decoded.positions
    places = range(len(decoded.events)) if positions is None else positions
    bad = [BadPosition(places[row], *why) for row, why in refused.items()]
    left = Decoded(
        _without(refused, decoded.events),
        _without(refused, places),
        np.delete(decoded.event_ms, [*refused]),
        np.delete(decoded.append_ms, [*refused]),
        sorted([*decoded.bad, *bad]),
    )
    return left, _without(refused, keys), values


async def settled(attempt: Callable[[], T]) -> T:
    """The result of ``attempt`` once the schema registry has answered.

    Raises `SchemaRegistryUnavailable` while the registry is away, and `SchemaRefused`.
    """
    for _ in range(_ASKS_MAX):
        try:
            return attempt()
        except Pending as pending:
            await pending.obtain()
    raise SchemaRegistryUnavailable("the schema cache is too small for the schemas in use at once")


def _decode(
    topic: Topic, batch: RecordBatch, keys: list[bytes | None] | None, limits: Limits
) -> Decoded:
    """``keys`` None: every key is right."""
    reader = _reader(topic)
    envelope = open_envelopes(topic, batch)
    bytes_max = topic.bytes_max or MAX_RECORD_BYTES
    _check_bytes(batch.values, bytes_max, envelope.bad, text=topic.codec.text)
    positions: Sequence[int] = range(len(batch))
    values: Sequence[bytes | None] = batch.values
    if envelope.bad:
        positions = _without(envelope.bad, positions)
        values = _without(envelope.bad, values)
    events, failed = _read(reader, envelope.versions, positions, values)
    if failed:
        envelope.bad.update((positions[i], found) for i, found in failed.items())
        positions = _without(failed, positions)
    if keys is not None and envelope.bad:
        keys = _without(envelope.bad, keys)
    return _judge(reader, envelope, events, positions, keys, limits=limits)


def _judge(
    reader: _Reader,
    envelope: Envelope,
    events: list[Any],
    positions: Sequence[int],
    keys: list[bytes | None] | None,
    *,
    limits: Limits,
) -> Decoded:
    append_ms = envelope.append_ms
    if envelope.bad:
        append_ms = np.delete(append_ms, [*envelope.bad])
    refused: dict[int, Defect] = {}
    if reader.time_of is None:
        event_ms = append_ms.copy()
    else:
        field = reader.topic.time_field
        event_ms, without_time = event_times(reader.time_of, field, events, append_ms)
        refused = _wrong_times(reader, event_ms, append_ms, limits) | without_time
    if reader.key_of is not None:
        refused.update(_wrong_keys(reader, events, keys))
    if reader.topic.needs:
        refused.update(_unmet_needs(reader.topic, events))
    if refused:
        envelope.bad.update((positions[i], found) for i, found in refused.items())
        event_ms, append_ms = (np.delete(column, [*refused]) for column in (event_ms, append_ms))
        events, positions = (_without(refused, column) for column in (events, positions))
    bad = [BadPosition(i, *envelope.bad[i]) for i in sorted(envelope.bad)]
    return Decoded(events, list(positions) if bad else None, event_ms, append_ms, bad)


def forget() -> None:
    _reader.cache_clear()


@lru_cache(maxsize=256)
def _reader(topic: Topic) -> _Reader:
    ways = {version: topic.reading(version) for version in topic.versions}
    return _Reader(
        topic=topic,
        by_version={version: _decoder(topic.codec, way) for version, way in ways.items()},
        key_of=attrgetter(topic.key_field) if topic.key_field else None,
        time_of=attrgetter(topic.time_field) if topic.time_field else None,
    )


def _decoder(codec: Codec, way: VersionReading) -> BatchDecoder:
    decode_values = guarded(codec.decoder(way.type))
    if not way.steps:
        return decode_values

    def decode_and_upcast(values: Sequence[bytes | None]) -> Read:
        read = decode_values(values)
        rest = values if not read.failed else _without(read.failed, values)
        rows = range(len(values)) if not read.failed else _without(read.failed, range(len(values)))
        events, failed = [], dict(read.failed)
        for row, value, event in zip(rows, rest, read.events, strict=True):
            try:
                for step in way.steps:
                    event = step(event)  # noqa: PLW2901 - each step makes the next version of it
            except DECODE_ERRORS as error:
                failed[row] = undecodable(value, error)
                error.__traceback__ = None
            else:
                events.append(event)
        return Read(events, failed)

    return decode_and_upcast


def _read(
    reader: _Reader,
    versions: dict[int, int],
    positions: Sequence[int],
    values: Sequence[bytes | None],
) -> Read:
    if not versions:
        return reader.by_version[UNNAMED_VERSION](values)
    rows_of: dict[int, list[int]] = {}
    for row, position in enumerate(positions):
        rows_of.setdefault(versions.get(position, UNNAMED_VERSION), []).append(row)
    found: list[tuple[int, Any]] = []
    failed: dict[int, Defect] = {}
    for version, rows in rows_of.items():
        read = reader.by_version[version]([values[row] for row in rows])
        failed.update((rows[at], why) for at, why in read.failed.items())
        found += zip(_without(read.failed, rows), read.events, strict=True)
    found.sort(key=itemgetter(0))
    return Read([event for _, event in found], failed)


def _check_bytes(
    values: Sequence[bytes | None], bytes_max: int, bad: dict[int, Defect], *, text: bool
) -> None:
    """Check sizes, and the encoding of ``text``. msgspec skips unknown fields unread, but DLQ,
    spool and console rely on UTF-8."""
    suspects: Iterable[int] = range(len(values))
    try:
        plain: list[Any] = values  # type: ignore[assignment]  # None raises, as intended
        plainly_utf8 = list(map(bytes.isascii, plain)) if text else [True] * len(plain)
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
        elif text and not value.isascii() and (found := bad_utf8(value)) is not None:
            bad[i] = found


def _keys(key_of: Callable[[Any], Any], events: Sequence[Any]) -> list[bytes | None]:
    try:
        return [*map(str.encode, map(key_of, events))]
    except TypeError:  # a field of another type than text
        named = map(key_of, events)
        return [None if one is None else str(one).encode() for one in named]


def _wrong_keys(
    reader: _Reader, events: list[Any], keys: list[bytes | None] | None
) -> dict[int, Defect]:
    """``keys`` None: only a null key field is wrong."""
    assert reader.key_of is not None, "keys are compared where there is a key field"
    expected = _keys(reader.key_of, events)
    field, wrong = reader.topic.key_field, {}
    if keys is None:
        absent = [i for i, key in enumerate(expected) if key is None] if None in expected else ()
        what = "the record key is made of this field; expected a value, got null"
        return {i: defect(MissingField.code, f"$.{field}", what) for i in absent}
    if expected == keys:
        return {}
    for i in compress(range(len(keys)), map(ne, keys, expected)):
        key, want = keys[i], expected[i]
        what = f"expected the value of $.{field}, {_key_text(want)}, got {_key_text(key)}"
        wrong[i] = defect(KeyMismatch.code, "key", what)
    return wrong


def _unmet_needs(topic: Topic, events: list[Any]) -> dict[int, Defect]:
    unmet = {}
    for need in topic.needs:
        kinds, needed = attrgetter(need.field), attrgetter(need.needs)
        for i, event in enumerate(events):
            if kinds(event) == need.value and needed(event) is None:
                what = f"{need.value} needs this field"
                unmet[i] = defect(MissingField.code, f"$.{need.needs}", what)
    return unmet


def _wrong_times(
    reader: _Reader, event_ms: NDArray[np.int64], append_ms: NDArray[np.int64], limits: Limits
) -> dict[int, Defect]:
    first_ms, last_ms = append_ms - limits.late_max_s * 1000, append_ms + limits.future_max_s * 1000
    path = f"$.{reader.topic.time_field}"
    wrong = {}
    for i in np.flatnonzero((event_ms < first_ms) | (event_ms > last_ms)).tolist():
        at, append = int(event_ms[i]), int(append_ms[i])
        if at > append:
            what = (
                f"expected at most {limits.future_max_s} s after the append time {_moment(append)}"
            )
            wrong[i] = defect(TimestampInFuture.code, path, f"{what}, got {_said(at)}")
        else:
            what = (
                f"expected at most {limits.late_max_s} s before the append time {_moment(append)}"
            )
            wrong[i] = defect(TimestampTooOld.code, path, f"{what}, got {_said(at)}")
    return wrong


def _said(event_ms: int) -> str:
    if event_ms in (FIRST_MS, LAST_MS):
        return f"{event_ms} or {'less' if event_ms == FIRST_MS else 'more'}"
    if SECONDS_MIN <= event_ms < SECONDS_MAX:
        return f"{event_ms}, which looks like seconds: write milliseconds, {event_ms * 1000}"
    for unit, per_ms in _FINER.items():
        if SECONDS_MIN <= event_ms // (1000 * per_ms) < SECONDS_MAX:
            return f"{event_ms}, which looks like {unit}: write milliseconds, {event_ms // per_ms}"
    return f"{event_ms} ({_moment(event_ms)})"


def _moment(ms: int) -> str:
    """ISO 8601 in UTC; the number itself outside of the calendar."""
    try:
        return (
            (_EPOCH + timedelta(milliseconds=ms))
            .isoformat(timespec="seconds")
            .replace("+00:00", "Z")
        )
    except OverflowError:
        return str(ms)


def _key_text(key: bytes | None) -> str:
    """In quotes as text, else as bytes."""
    if key is None:
        return "no key"
    try:
        return json.dumps(key[:80].decode(), ensure_ascii=False)
    except UnicodeDecodeError:
        return f"0x{key[:80].hex()}"


def _without(bad: Iterable[int], column: Sequence[Any]) -> list[Any]:
    keep = bytearray(b"\x01") * len(column)
    for i in bad:
        keep[i] = 0
    return list(compress(column, keep))
