"""Processor operations that Python and numba lack.

Each is defined in Python for interpreted kernels, and as one instruction for compiled ones. Words
are little-endian and may be unaligned.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.core.kernels.compiled import AVAILABLE, ir, numba

_ALL = (1 << 64) - 1


def byte_at(buffer: NDArray[np.uint8], at: int) -> int:
    """The byte at ``at``, not below 0; numba would check the sign."""
    return int(buffer[at])


def load64(buffer: NDArray[np.uint8], at: int) -> np.uint64:
    return np.uint64(int.from_bytes(buffer[at : at + 8].tobytes(), "little"))


def high64(a: np.uint64, b: np.uint64) -> np.uint64:
    return np.uint64((int(a) * int(b)) >> 64)


def leading_zeros(word: np.uint64) -> int:
    """Zero bits above the highest one; 64 for 0."""
    return 64 - int(word).bit_length()


def trailing_zeros(word: np.uint64) -> int:
    """Zero bits below the lowest one; 64 for 0."""
    return 64 if not word else (int(word) & -int(word)).bit_length() - 1


def as_double(bits: np.uint64) -> float:
    value: float = struct.unpack("<d", struct.pack("<Q", int(bits) & _ALL))[0]
    return value


if AVAILABLE:
    intrinsic, overload = numba.extending.intrinsic, numba.extending.overload
    _types = numba.types

    @intrinsic  # type: ignore[untyped-decorator]
    def _byte_at(typing: Any, buffer: Any, at: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            array = context.make_array(signature.args[0])(context, builder, arguments[0])
            loaded = builder.load(builder.gep(array.data, [arguments[1]]))
            return builder.zext(loaded, ir.IntType(64))

        return _types.int64(buffer, _types.int64), generate

    @intrinsic  # type: ignore[untyped-decorator]
    def _load64(typing: Any, buffer: Any, at: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            array = context.make_array(signature.args[0])(context, builder, arguments[0])
            pointer = builder.gep(array.data, [arguments[1]])
            loaded = builder.load(builder.bitcast(pointer, ir.IntType(64).as_pointer()))
            loaded.align = 1
            return loaded

        return _types.uint64(buffer, _types.int64), generate

    @intrinsic  # type: ignore[untyped-decorator]
    def _high64(typing: Any, a: Any, b: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            wide = ir.IntType(128)
            product = builder.mul(*(builder.zext(word, wide) for word in arguments))
            return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))

        return _types.uint64(_types.uint64, _types.uint64), generate

    @intrinsic  # type: ignore[untyped-decorator]
    def _leading_zeros(typing: Any, word: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.ctlz(arguments[0], ir.Constant(ir.IntType(1), 0))

        return _types.int64(_types.uint64), generate

    @intrinsic  # type: ignore[untyped-decorator]
    def _trailing_zeros(typing: Any, word: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

        return _types.int64(_types.uint64), generate

    @intrinsic  # type: ignore[untyped-decorator]
    def _as_double(typing: Any, bits: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.bitcast(arguments[0], ir.DoubleType())

        return _types.float64(_types.uint64), generate

    # numba compares parameters and annotations of definition and type, so both are lambdas.
    def _instead_of(plain: Any, definition: Any) -> None:
        overload(plain, inline="always")(definition)

    compiled: Any = (_byte_at, _load64, _high64, _leading_zeros, _trailing_zeros, _as_double)
    _byte, _load, _high, _leading, _trailing, _double = compiled
    _instead_of(byte_at, lambda buffer, at: lambda buffer, at: _byte(buffer, at))
    _instead_of(load64, lambda buffer, at: lambda buffer, at: _load(buffer, at))
    _instead_of(high64, lambda a, b: lambda a, b: _high(a, b))
    _instead_of(leading_zeros, lambda word: lambda word: _leading(word))
    _instead_of(trailing_zeros, lambda word: lambda word: _trailing(word))
    _instead_of(as_double, lambda bits: lambda bits: _double(bits))
