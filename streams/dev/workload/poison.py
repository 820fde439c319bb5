"""Records that can never be processed, each broken in one known way."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from streams.core.records.bad_records import (
    InvalidJson,
    InvalidUtf8,
    KeyMismatch,
    MissingField,
    WrongType,
)

Spoiled: TypeAlias = tuple[bytes, bytes]
"""(key, value)"""


class Poison(NamedTuple):
    """A way to spoil a good record, and its error code."""

    code: str
    spoil: Callable[[bytes, bytes], Spoiled]


def _cut(key: bytes, value: bytes) -> Spoiled:
    return key, value[: len(value) // 2]


def _lose_field(key: bytes, value: bytes) -> Spoiled:
    return key, value.replace(b'"value":', b'"lost":', 1)


def _quote_time(key: bytes, value: bytes) -> Spoiled:
    head, tail = value.split(b'"ts":', 1)
    digits, rest = tail.split(b",", 1)
    return key, head + b'"ts":"' + digits + b'",' + rest


def _break_encoding(key: bytes, value: bytes) -> Spoiled:
    head, tail = value.split(b'"metric":', 1)
    space, rest = tail.split(b'"', 1)
    return key, head + b'"metric":' + space + b'"\xff' + rest


def _change_key(key: bytes, value: bytes) -> Spoiled:
    return key + b"-other", value


POISONS: tuple[Poison, ...] = (
    Poison(InvalidJson.code, _cut),
    Poison(MissingField.code, _lose_field),
    Poison(WrongType.code, _quote_time),
    Poison(InvalidUtf8.code, _break_encoding),
    Poison(KeyMismatch.code, _change_key),
)
