"""Looks names up by their UTF-8 bytes in a buffer: the compiled form of a dictionary."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from streams.core import kernels
from streams.core.kernels.record_shape import PADDING
from streams.core.records.text_spans import TextSpans

_PLACES_MIN = 1 << 10

S = TypeVar("S", bound=np.generic)


class NameSpans:
    """The i-th added name has code i. Requires kernels."""

    def __init__(self) -> None:
        self._seed = np.uint64(int.from_bytes(os.urandom(8), "little"))
        self._arena = np.zeros(1 << 12, np.uint8)
        self._used = 0
        self._at = np.zeros(64, np.int64)
        self._size = np.zeros(64, np.int64)
        self._count = 0
        self._places = np.zeros(_PLACES_MIN, np.uint64)

    def __len__(self) -> int:
        return self._count

    @property
    def bytes_used(self) -> int:
        """UTF-8 bytes of all names."""
        return self._used

    def add(self, texts: Sequence[bytes]) -> None:
        if not texts:
            return
        size = np.fromiter(map(len, texts), np.int64, len(texts))
        first, self._count = self._count, self._count + len(texts)
        start, self._used = self._used, self._used + int(size.sum())
        self._arena = _grown(self._arena, self._used + PADDING)
        self._at, self._size = _grown(self._at, self._count), _grown(self._size, self._count)
        self._arena[start : self._used] = np.frombuffer(b"".join(texts), np.uint8)
        self._at[first : self._count] = start + np.cumsum(size) - size
        self._size[first : self._count] = size
        if 2 * self._count > len(self._places):
            self._places = np.zeros(1 << (4 * self._count - 1).bit_length(), np.uint64)
            first = 0
        loops = kernels.active
        assert loops is not None, "names are looked up where kernels are loaded"
        at, sizes = self._at[: self._count], self._size[: self._count]
        loops.enter_names(self._arena, at, sizes, first, self._seed, self._places)

    def codes(self, texts: TextSpans) -> tuple[NDArray[np.int64], int]:
        """The code of each text, or -1, and the number of texts without a code."""
        loops = kernels.active
        assert loops is not None, "names are looked up where kernels are loaded"
        found = np.empty(len(texts), np.int64)
        unknown: int = loops.find_names(
            texts.buffer, texts.at, texts.size,
            self._seed, self._places, self._arena, self._at, self._size, found,
        )  # fmt: skip
        return found, unknown


def _grown(column: NDArray[S], count: int) -> NDArray[S]:
    if count <= len(column):
        return column
    grown = np.zeros(max(count, 2 * len(column)), column.dtype)
    grown[: len(column)] = column
    return grown
