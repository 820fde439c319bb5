"""How a keyed table holds keys and values.

A key is text, bytes, an integer, or a tuple of those. Keys and values are written as MessagePack.
In memory a *scalar* (None, bool, int, float, str, bytes) is held as it is. Other values are held
`Packed`, and each read gives a new object, so that changes in place are visible only after the
event completes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import msgspec

from streams.core.errors import TableMisused
from streams.core.records.bad_records import KeyRefused, ValueRefused
from streams.core.records.faust_values import is_record, plain
from streams.engine.state.table import MAX_ENTRY_BYTES

Key: TypeAlias = Any
SCALARS: Final = frozenset({type(None), bool, int, float, str, bytes})
FIXED: Final = frozenset({type(None), bool, int, float})
"""types of scalars that all take the same memory"""
KEY_MAX_BYTES: Final = 32 << 10
_KEY_SHOWN: Final = 80
_VALUE_MAX_BYTES: Final = MAX_ENTRY_BYTES - KEY_MAX_BYTES
_TEXT_HEAD_BYTES: Final = 5
"""of a long text or of long bytes in MessagePack"""
_INT_MIN, _INT_MAX = -(1 << 63), (1 << 64) - 1
_CONTAINERS: Final = frozenset(
    {*range(0x80, 0xA0), *range(0xDC, 0xE0), *range(0xC7, 0xCA), *range(0xD4, 0xD9)}
)
"""first bytes of MessagePack maps, arrays and extensions"""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


class Packed(bytes):
    """The MessagePack form of a value that is no scalar."""

    __slots__ = ()


def check_key(table: str, key: Key) -> None:
    """Raises `KeyRefused` for a key that a restart would change."""
    kind = type(key)
    if kind is str or kind is bytes or (kind is int and _INT_MIN <= key <= _INT_MAX):
        return
    if kind is tuple and key:
        for part in key:
            kind_of_part = type(part)
            if kind_of_part is int and _INT_MIN <= part <= _INT_MAX:
                continue
            if kind_of_part is not str and kind_of_part is not bytes:
                check_key(table, part)
        return
    raise KeyRefused(
        f"table {table!r} cannot have key {repr(key)[:_KEY_SHOWN]}: a key is text, bytes, an integer of 64 bits, or "
        f"a tuple of those, not {kind.__name__}. Convert it, for example with str()."
    )


def key_bytes(key: Key) -> bytes:
    """The form of a checked key in store and changelog; never empty."""
    return _encode(key)


def key_of(raw: bytes) -> Key:
    """The inverse of `key_bytes`."""
    return _as_tuples(_decode(raw))


def _as_tuples(key: Any) -> Any:
    return tuple(map(_as_tuples, key)) if isinstance(key, list) else key


def text_bytes(text: str) -> int:
    """Memory of a text's characters, and at least its bytes as UTF-8."""
    return len(text) if text.isascii() else 4 * len(text)


def value_bytes(held: Any) -> int:
    """Memory of a held value beyond that of a number."""
    if type(held) in FIXED:
        return 0
    return text_bytes(held) if type(held) is str else len(held)


def record_key(key: Key) -> bytes:
    """The record key that places ``key``: the first part of a tuple."""
    while isinstance(key, tuple):
        key = key[0]
    if isinstance(key, bytes):
        return key
    return str(key).encode()


class ValueForm:
    """Any MessagePack value; tuples and sets come back as lists.

    ``scalar``: the scalar type of all values; None: any.
    """

    def __init__(self, table: str, scalar: type | None = None) -> None:
        self._table = table
        self._scalar = scalar

    def held(self, value: Any) -> Any:
        """The held form of ``value``: a scalar itself, else `Packed`.

        Raises `ValueRefused` for a value that cannot be written.
        """
        kind = type(value)
        if self._scalar is not None and kind is not self._scalar:
            if self._scalar is float and kind is int:
                return float(value)
            raise ValueRefused(
                f"table {self._table!r} holds {self._scalar.__name__}, got {kind.__name__}"
            )
        if kind is int and not _INT_MIN <= value <= _INT_MAX:
            raise ValueRefused(
                f"table {self._table!r} holds integers of 64 bits, got {value.bit_length()} bits"
            )
        if kind is str or kind is bytes:
            plain = kind is bytes or value.isascii()
            data = value if plain else self._pack_with(str.encode, value)
            self._check_size(len(data) + _TEXT_HEAD_BYTES)
        return value if kind in SCALARS else Packed(self._packed(value))

    def given(self, held: Any) -> Any:
        """The value of a held form; a new object if it is no scalar."""
        return self._unpacked(held) if type(held) is Packed else held

    def written(self, held: Any) -> bytes:
        """The form in store and changelog. Raises `ValueRefused` above the size of an entry."""
        data = held if type(held) is Packed else _encode(held)
        self._check_size(len(data))
        return data

    def _check_size(self, size_bytes: int) -> None:
        if size_bytes > _VALUE_MAX_BYTES:
            raise ValueRefused(
                f"a value of table {self._table!r} has {size_bytes} bytes, more than "
                f"{_VALUE_MAX_BYTES}. Spread it over several keys."
            )

    def read(self, data: bytes) -> Any:
        """The inverse of `written`."""
        return Packed(data) if data[0] in _CONTAINERS else _decode(data)

    def _packed(self, value: Any) -> bytes:
        return self._pack_with(_encode, value)

    def _unpacked(self, data: bytes) -> Any:
        return _decode(data)

    def _pack_with(self, pack: Callable[[Any], bytes], value: Any) -> bytes:
        try:
            return pack(value)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise ValueRefused(
                f"a value of table {self._table!r} cannot be written as MessagePack: {error}"
            ) from error


class TypedForm(ValueForm):
    def __init__(self, table: str, kind: Any) -> None:
        super().__init__(table)
        self._decode_typed = msgspec.msgpack.Decoder(kind).decode

    def held(self, value: Any) -> Any:
        """Also raises `ValueRefused` for a value that does not decode as the type."""
        data = self._packed(value)
        try:
            self._decode_typed(data)
        except msgspec.ValidationError as error:
            raise ValueRefused(
                f"table {self._table!r} does not hold {type(value).__name__}: {error}"
            ) from error
        self._check_size(len(data))
        return value if type(value) in SCALARS else Packed(data)

    def read(self, data: bytes) -> Any:
        value = self._decode_typed(data)
        return value if type(value) in SCALARS else Packed(data)

    def _unpacked(self, data: bytes) -> Any:
        return self._decode_typed(data)


class SetForm(ValueForm):
    """Sets of keys, sorted by their bytes, so that equal sets are equal bytes."""

    def held(self, value: Any) -> Any:
        if not isinstance(value, set | frozenset):
            raise ValueRefused(f"table {self._table!r} holds sets, got {type(value).__name__}")
        for member in value:
            check_key(self._table, member)
        return Packed(self._packed(sorted(value, key=key_bytes)))

    def _unpacked(self, data: bytes) -> Any:
        return set(map(_as_tuples, _decode(data)))


class ConvertedForm(ValueForm):
    def __init__(
        self, table: str, to_plain: Callable[[Any], Any], of_plain: Callable[[Any], Any]
    ) -> None:
        super().__init__(table)
        self._to_plain = to_plain
        self._of_plain = of_plain

    def held(self, value: Any) -> Any:
        if type(value) in SCALARS:
            return super().held(value)
        return Packed(self._packed(self._to_plain(value)))

    def _unpacked(self, data: bytes) -> Any:
        return self._of_plain(_decode(data))


def form_of(table: str, value_type: Any) -> ValueForm:
    """The form for values of ``value_type``; None: any MessagePack value.

    Raises `TableMisused` for a type that msgspec does not support.
    """
    if value_type is None:
        return ValueForm(table)
    if value_type in SCALARS:
        return ValueForm(table, value_type)
    if value_type is set:
        return SetForm(table)
    if is_record(value_type):
        return ConvertedForm(table, plain, value_type.from_data)
    try:
        return TypedForm(table, value_type)
    except TypeError as error:
        raise TableMisused(
            f"table {table!r} cannot hold values of {value_type!r}: {error}. Use a Record, a "
            f"msgspec type, or a type that MessagePack has."
        ) from error


def list_form(table: str, value_type: Any) -> ValueForm:
    if is_record(value_type):
        return ConvertedForm(table, plain, lambda data: [value_type.from_data(one) for one in data])
    return form_of(table, list[value_type])
