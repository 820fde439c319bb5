"""Reference decoder of a topic of metrics, from the event's contract: the standard library's JSON,
no codec, hash or table of the engine. tests/properties/test_judge.py compares the two."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from streams.core.records import headers
from streams.core.records.fields import INT64_MAX, VALUE_MAX
from streams.core.topics.topic import MAX_RECORD_BYTES, Topic
from streams.core.types import Headers
from streams.operate.audit.log_age import FirstSeen, Verdict

_NAMES_REQUIRED = ("tenant_id", "model_id", "metric")
_NAMES_OPTIONAL = ("event_id", "run_id")
_NAME_MAX = 128
_PLAIN_VERSION = 1
"""Schema version of a record without a version header."""
_PLAIN_DIGITS = 30
"""Longer integers become floats: no field accepts them, and int() refuses thousands of digits."""


class ReferenceEvent(NamedTuple):
    """``identity`` decides repeats, ``said`` conflicts."""

    series: tuple[str, str, str]
    ts_ms: int
    value: float
    identity: tuple[str, str | bytes]
    said: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Rules:
    """The topic's published versions, and settings."""

    source: Topic
    future_max_ms: int
    late_max_ms: int
    dedupe_ttl_ms: int


@dataclass(slots=True)
class ReferenceDecoder:
    """Decides the records of one partition and epoch, in log order."""

    rules: Rules
    _seen: FirstSeen = field(init=False)

    def __post_init__(self) -> None:
        self._seen = FirstSeen(self.rules.dedupe_ttl_ms)

    def pass_by(self, append_ms: int) -> None:
        """A record with a verdict from elsewhere advances log time, too."""
        self._seen.read(append_ms)

    def judge(
        self, append_ms: int, key: bytes | None, value: bytes | None, found: Headers
    ) -> tuple[Verdict, ReferenceEvent | None]:
        """The verdict, and the event of an applied record."""
        self._seen.read(append_ms)
        event = _event(append_ms, key, value, found, self.rules)
        if event is None:
            return "dead", None
        verdict = self._seen.verdict(append_ms, event.identity, event.said)
        return verdict, event if verdict == "applied" else None


def _event(
    append_ms: int, key: bytes | None, value: bytes | None, found: Headers, rules: Rules
) -> ReferenceEvent | None:
    judged_ms = _judged_ms(append_ms, found)
    version = _version(found, rules.source)
    if judged_ms is None or version is None or value is None:
        return None
    fields = _fields(value) if version == _PLAIN_VERSION else _upcast(value, rules.source, version)
    if fields is None:
        return None
    tenant, ts_ms = fields["tenant_id"], fields["ts"]
    if key != tenant.encode():
        return None
    if not judged_ms - rules.late_max_ms <= ts_ms <= judged_ms + rules.future_max_ms:
        return None
    event_id, number = fields.get("event_id"), float(fields["value"])
    return ReferenceEvent(
        series=(tenant, fields["model_id"], fields["metric"]),
        ts_ms=ts_ms,
        value=number,
        identity=(tenant, value if event_id is None else event_id),
        said=(fields["model_id"], fields["metric"], ts_ms, number, fields.get("run_id")),
    )


def _judged_ms(append_ms: int, found: Headers) -> int | None:
    """The record's first append time; None when its headers refuse it."""
    replayed = headers.last(found, headers.REPLAY_APPEND_TS) if found else None
    if replayed is None:
        return append_ms
    first_ms = headers.decimal(replayed)
    return None if first_ms is None else min(first_ms, append_ms)


def _version(found: Headers, source: Topic) -> int | None:
    named = headers.last(found, headers.SCHEMA) if found else None
    version = _PLAIN_VERSION if named is None else headers.decimal(named)
    return version if version in source.versions else None


def _upcast(value: bytes, source: Topic, version: int) -> dict[str, Any] | None:
    way = source.reading(version)
    try:
        event = msgspec.convert(_document(value), way.type)
    except (ValueError, RecursionError):
        return None
    for step in way.steps:
        event = step(event)
    fields = msgspec.to_builtins(event)
    return fields if _well_typed(fields) else None


def _fields(value: bytes | None) -> dict[str, Any] | None:
    if not value or len(value) > MAX_RECORD_BYTES:
        return None
    try:
        fields = _document(value)
        if b"\\u" in value:
            json.dumps(fields, ensure_ascii=False).encode()  # raises for an unpaired surrogate
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) and _well_typed(fields) else None


def _document(value: bytes) -> Any:
    """The JSON value; a whole-number ``ts`` in any notation is an integer. Raises `ValueError`,
    `RecursionError`."""
    text = value.decode()
    found = json.loads(text, parse_int=_integer, parse_constant=_refuse)
    if isinstance(found, dict) and type(found.get("ts")) is float:
        written: Decimal = json.loads(text, parse_float=Decimal, parse_int=Decimal)["ts"]
        if written.adjusted() < _PLAIN_DIGITS and written == written.to_integral_value():
            found["ts"] = int(written)
    return found


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _PLAIN_DIGITS else float(digits)


def _refuse(word: str) -> float:
    raise ValueError(f"{word} is not valid JSON")


def _well_typed(fields: dict[str, Any]) -> bool:
    ts, value = fields.get("ts"), fields.get("value")
    return (
        all(_is_name(fields.get(name)) for name in _NAMES_REQUIRED)
        and all(fields.get(name) is None or _is_name(fields[name]) for name in _NAMES_OPTIONAL)
        and type(ts) is int
        and 0 <= ts <= INT64_MAX
        and isinstance(value, int | float)
        and not isinstance(value, bool)
        and -VALUE_MAX <= value <= VALUE_MAX
    )


def _is_name(found: object) -> bool:
    return isinstance(found, str) and 1 <= len(found) <= _NAME_MAX
