"""Decimal text to doubles, bit for bit as Python's `float`.

D. Lemire, Number Parsing at a Gigabyte per Second, Software: Practice and Experience 51(8), 2021:
one or two 64-bit products with a table of powers of five, each cut to 128 bits. Undecided and
special cases (more than 19 digits, subnormal, overflow, minus zero) return ``end`` -1.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.core.kernels.compiled import inlined
from streams.core.kernels.machine import as_double, byte_at, high64, leading_zeros

_U = np.uint64
_FIRST_POWER: Final = -342
_LAST_POWER: Final = 308
_SAFE_POWERS: Final = (-300, 290)
"""Exponents whose products are normal doubles, with up to 19 digits."""
_DIGITS_MAX: Final = 19
_EXPONENT_DIGITS_MAX: Final = 4

_ZERO, _ONE, _TEN = _U(0), _U(1), _U(10)
_ONES = _U(0xFFFFFFFFFFFFFFFF)
_BELOW_ROUNDING = _U(0x1FF)
"""Bits of the upper product below the 55 that decide the rounding."""
_HIDDEN = _U(1 << 52)
_LIMIT = _U(1 << 53)
_MINUS, _PLUS, _POINT, _DIGIT_0, _DIGIT_9 = (ord(sign) for sign in "-+.09")
_LETTER_E, _LETTER_E_SMALL = ord("E"), ord("e")


def _power_of_five(q: int) -> int:
    """The upper 128 bits of 5**q, rounded up for negative q."""
    power: int = 5 ** abs(q)
    if q >= 0:
        return power << 128 >> power.bit_length()
    bits = (power - 1).bit_length()
    wide = (1 << (bits + 127 if q >= -27 else 2 * bits + 128)) // power + 1
    return wide >> max(0, wide.bit_length() - 128)


_POWERS = [_power_of_five(q) for q in range(_FIRST_POWER, _LAST_POWER + 1)]
_UPPER = np.array([power >> 64 for power in _POWERS], np.uint64)
_LOWER = np.array([power & ((1 << 64) - 1) for power in _POWERS], np.uint64)


@inlined
def nearest_double(digits: np.uint64, power: int) -> tuple[float, bool]:
    """The double nearest to ``digits`` * 10**``power``, digits above 0; False where undecided."""
    if power < _SAFE_POWERS[0] or power > _SAFE_POWERS[1]:
        return 0.0, False
    zeros = leading_zeros(digits)
    factor = digits << _U(zeros)
    upper = high64(factor, _UPPER[power - _FIRST_POWER])
    lower = factor * _UPPER[power - _FIRST_POWER]
    if upper & _BELOW_ROUNDING == _BELOW_ROUNDING:
        carry = high64(factor, _LOWER[power - _FIRST_POWER])
        lower += carry
        if lower < carry:
            upper += _ONE
        if lower == _ONES:
            return 0.0, False
    top = upper >> _U(63)
    shift = top + _U(9)
    mantissa = upper >> shift
    exponent = ((217706 * power) >> 16) + 63 + np.int64(top) - zeros + 1023
    if exponent <= 0 or exponent >= 0x7FE:
        return 0.0, False
    # Exactly between two doubles: to the even one.
    if lower <= _ONE and -4 <= power <= 23 and mantissa & _U(3) == _ONE:
        if (mantissa << shift) == upper:
            mantissa &= ~_ONE
    mantissa = (mantissa + (mantissa & _ONE)) >> _ONE
    if mantissa >= _LIMIT:
        mantissa = _HIDDEN
        exponent += 1
    return as_double((mantissa & ~_HIDDEN) | (_U(exponent) << _U(52))), True


@inlined
def read_double(buffer: NDArray[np.uint8], at: int, stop: int) -> tuple[int, float]:
    """End and value of the JSON number at ``at``; end -1 where it is not read. At least one byte
    follows ``stop``."""
    negative = byte_at(buffer, at) == _MINUS
    if negative:
        at += 1
    digits, count, power, first = _ZERO, 0, 0, at
    while at < stop and _DIGIT_0 <= byte_at(buffer, at) <= _DIGIT_9:
        digits = digits * _TEN + _U(byte_at(buffer, at) - _DIGIT_0)
        at += 1
    count = at - first
    if count == 0 or count > _DIGITS_MAX or (count > 1 and byte_at(buffer, first) == _DIGIT_0):
        return -1, 0.0
    if digits == _ZERO:
        count = 0
    if at < stop and byte_at(buffer, at) == _POINT:
        at += 1
        first = at
        while at < stop and _DIGIT_0 <= byte_at(buffer, at) <= _DIGIT_9:
            digits = digits * _TEN + _U(byte_at(buffer, at) - _DIGIT_0)
            # Not by `digits`, which the 20 digits of 2**64 make 0 again.
            if count > 0 or byte_at(buffer, at) != _DIGIT_0:
                count += 1
                if count > _DIGITS_MAX:
                    return -1, 0.0
            at += 1
        if at == first:
            return -1, 0.0
        power = first - at
    if at < stop and (byte_at(buffer, at) == _LETTER_E_SMALL or byte_at(buffer, at) == _LETTER_E):
        at += 1
        down = at < stop and byte_at(buffer, at) == _MINUS
        if down or (at < stop and byte_at(buffer, at) == _PLUS):
            at += 1
        written, first = 0, at
        while (
            at < stop
            and at - first < _EXPONENT_DIGITS_MAX
            and _DIGIT_0 <= byte_at(buffer, at) <= _DIGIT_9
        ):
            written = written * 10 + int(byte_at(buffer, at) - _DIGIT_0)
            at += 1
        if at == first:
            return -1, 0.0
        power += -written if down else written
    if digits == _ZERO:
        return (-1, 0.0) if negative else (at, 0.0)
    value, told = nearest_double(digits, power)
    if not told:
        return -1, 0.0
    return at, -value if negative else value
