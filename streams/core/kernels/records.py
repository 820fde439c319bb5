"""Positions of keys and values in an uncompressed Kafka batch.

Record format v2, https://kafka.apache.org/documentation/#record. A batch is unusual, and not read,
if it has headers or attributes, inconsistent lengths, offsets that do not rise, or a varint of more
than `VARINT_BYTES_MAX` bytes. The mark of a mirror, alone, is passed over.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from streams.core.kernels.compiled import inlined, kernel
from streams.core.kernels.machine import byte_at

VARINT_BYTES_MAX: Final = 8

MARK: Final = np.frombuffer(b"\x18dia.mirrored", np.uint8)
"""Header `headers.MIRRORED`: the size of its name, the name. Then comes no value (a mirror's) or an empty
one (an agent's)."""
_NO_VALUE: Final = np.uint8(1)
"""as a size; that of an empty value is 0"""

_U = np.uint64
_ONE = _U(1)


@inlined
def _read_varint(buffer: NDArray[np.uint8], at: int, stop: int) -> tuple[int, int]:
    """The zigzag varint at ``at``, and its end; -1 where it does not end in time."""
    word, shift = _U(0), _U(0)
    for _ in range(VARINT_BYTES_MAX):
        if at >= stop:
            return -1, 0
        byte = _U(byte_at(buffer, at))
        at += 1
        word |= (byte & _U(127)) << shift
        if byte < _U(128):
            return at, int(np.int64(word >> _ONE) ^ -np.int64(word & _ONE))
        shift += _U(7)
    return -1, 0


@inlined
def _is_mark(buffer: NDArray[np.uint8], at: int, end: int) -> bool:
    """Whether ``buffer`` from ``at`` to ``end`` is `MARK` and the size of no value, or an empty one."""
    same = end - at == len(MARK) + 1
    if same:
        same = bool(byte_at(buffer, end - 1) <= _NO_VALUE)
        for i in range(len(MARK)):
            same = same and byte_at(buffer, at + i) == MARK[i]
    return same


@kernel(
    "boolean(BYTES, int64, int64, int64, int64, int64[::1], int64[::1], "
    "int64[::1], int64[::1], int64[::1], int64[::1])"
)
def frame(
    buffer: NDArray[np.uint8],
    at: int,
    stop: int,
    base_offset: int,
    base_ms: int,
    offsets: NDArray[np.int64],
    timestamps: NDArray[np.int64],
    key_at: NDArray[np.int64],
    key_size: NDArray[np.int64],
    value_at: NDArray[np.int64],
    value_size: NDArray[np.int64],
) -> bool:
    """Read one record per row of the outputs, from ``at`` to exactly ``stop``. Size -1: no key, or
    no value. False: the batch is unusual, and the outputs are undefined."""
    for row in range(len(offsets)):
        at, size = _read_varint(buffer, at, stop)
        end = at + size
        if at < 0 or size < 0 or end > stop or buffer[at] != 0:  # attributes: unused
            return False
        at, delta_ms = _read_varint(buffer, at + 1, end)
        if at < 0:
            return False
        timestamps[row] = base_ms + delta_ms
        at, delta = _read_varint(buffer, at, end)
        if at < 0:
            return False
        offsets[row] = base_offset + delta
        if row > 0 and offsets[row] <= offsets[row - 1]:
            return False
        at, size = _read_varint(buffer, at, end)
        if at < 0 or size < -1 or size > end - at:
            return False
        key_at[row] = at
        key_size[row] = size
        at += max(size, 0)
        at, size = _read_varint(buffer, at, end)
        if at < 0 or size < -1 or size > end - at:
            return False
        value_at[row] = at
        value_size[row] = size
        at += max(size, 0)
        at, headers = _read_varint(buffer, at, end)
        if headers == 1 and at > 0 and _is_mark(buffer, at, end):
            at = end
        elif at != end or headers != 0:
            return False
    return at == stop
