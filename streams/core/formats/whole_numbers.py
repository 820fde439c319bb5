"""Integers with a fraction of zero or an exponent, as pandas and Lua write times.

JSON Schema accepts ``1795908894818.0`` as an integer; msgspec refuses it. Such a record is decoded
again without types, and converted."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import msgspec

_EXPECTED_INT = re.compile(r"Expected `int(?: \| null)?`, got `float` - at `\$((?:\.\w+)+)`")
_DIGITS_MAX = 20
"""Any 64-bit integer fits; 1e999999999 must not be expanded."""


def decode_whole(value: bytes, type_: Any, error: Exception) -> Any:
    """``error``: of decoding ``value`` as ``type_``. Raises it, or the next one, when something
    else is wrong too."""
    document: Any = None
    exact: Any = None
    while True:
        found = _EXPECTED_INT.fullmatch(str(error))
        if found is None:
            raise error
        if document is None:
            document = msgspec.json.decode(value)
            exact = json.loads(value, parse_float=Decimal, parse_int=str)
        *outer, name = found[1][1:].split(".")
        number = _whole(_at(exact, outer)[name])
        if number is None:
            raise error
        _at(document, outer)[name] = number
        try:
            return msgspec.convert(document, type_)
        except msgspec.ValidationError as next_error:
            error = next_error


def _at(document: Any, names: list[str]) -> Any:
    for name in names:
        document = document[name]
    return document


def _whole(number: Any) -> int | None:
    """None with a fraction or too many digits."""
    if not isinstance(number, Decimal) or not number.is_finite():
        return None
    if number.adjusted() >= _DIGITS_MAX or number != number.to_integral_value():
        return None
    return int(number)
