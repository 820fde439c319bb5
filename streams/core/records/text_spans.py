"""A column of texts as places in one UTF-8 buffer, without a Python string each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streams.core.kernels.record_shape import PADDING

_MANY = 500


@dataclass(frozen=True, slots=True, eq=False)
class TextSpans:
    """Text i is the ``size[i]`` bytes of ``buffer`` at ``at[i]``. `PADDING` bytes follow the last
    one. ``absent``: mask of rows without a text, or None."""

    buffer: NDArray[np.uint8]
    at: NDArray[np.int64]
    size: NDArray[np.int64]
    absent: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        return len(self.at)

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> TextSpans:
        absent = None if self.absent is None else self.absent[rows]
        return TextSpans(self.buffer, self.at[rows], self.size[rows], absent)

    def encoded(self) -> list[bytes | None]:
        # Copying the whole buffer first pays only for many texts.
        whole = self.buffer.tobytes() if len(self) > _MANY else self.buffer
        absent = self.absent.tolist() if self.absent is not None else [False] * len(self)
        spans = zip(absent, self.at.tolist(), self.size.tolist(), strict=True)
        return [None if lacks else bytes(whole[at : at + size]) for lacks, at, size in spans]

    def text(self, row: int) -> str | None:
        if self.absent is not None and self.absent[row]:
            return None
        at = int(self.at[row])
        return self.buffer[at : at + int(self.size[row])].tobytes().decode()

    def texts(self) -> list[str | None]:
        return [None if text is None else text.decode() for text in self.encoded()]


def spans(buffer: NDArray[np.uint8], at: NDArray[np.int64], size: NDArray[np.int64]) -> TextSpans:
    """A size below 0 is absent."""
    absent = size < 0
    return TextSpans(buffer, at, size, absent if absent.any() else None)


def joined(texts: Sequence[bytes | None]) -> TextSpans:
    """Copied into one buffer; None is absent."""
    absent = None
    if None in texts:
        absent = np.array([text is None for text in texts], np.bool_)
    there: list[bytes] = [text or b"" for text in texts]
    size = np.fromiter(map(len, there), np.int64, len(there))
    buffer = np.frombuffer(b"".join([*there, bytes(PADDING)]), np.uint8)
    return TextSpans(buffer, np.cumsum(size) - size, size, absent)
