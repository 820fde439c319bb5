"""Numbers for the keys of records: looked up once for a batch, for all that asks of keys.

A batch that is read ahead has its numbers from the thread that decodes it (decoding_ahead.py)."""

from __future__ import annotations

from typing import Final, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from streams.core import kernels
from streams.core.records.framed_batch import FramedBatch, key_places
from streams.core.records.name_spans import NameSpans
from streams.core.types import RecordBatch

_KEYS_MAX: Final = 100_000
_BYTES_MAX: Final = 16 << 20
"""a key may have 1 MB: limits the memory for known keys"""


class CodedKeys(NamedTuple):
    codes: NDArray[np.int64]
    """of each record: the place of its key in ``keys``"""
    keys: list[bytes]
    """Known keys, also of other batches. It grows, perhaps in another thread; another list once they were
    forgotten."""


class KeyCodes:
    """Knows the keys of earlier batches, within a bound. Serves one thread at a time."""

    def __init__(self) -> None:
        self._spans = NameSpans()
        self._keys: list[bytes] = []

    def __len__(self) -> int:
        """Known keys."""
        return len(self._keys)

    @property
    def bytes_used(self) -> int:
        return self._spans.bytes_used

    def of(self, batch: RecordBatch) -> CodedKeys | None:
        """None: there is no record, or one without a key, or too many new keys, or no kernel."""
        if not isinstance(batch, FramedBatch):
            return self._coded(batch)
        if batch.coded is None:
            batch.coded = self._coded(batch)
        return cast("CodedKeys | None", batch.coded)

    def _coded(self, batch: RecordBatch) -> CodedKeys | None:
        if kernels.active is None or not len(batch):
            return None
        keys = key_places(batch)
        if keys.absent is not None:
            return None
        codes, unknown = self._spans.codes(keys)
        if unknown:
            rows = np.flatnonzero(codes < 0)
            others = keys.take(rows)
            if not self._know([*dict.fromkeys(cast(list[bytes], others.encoded()))]):
                return None
            codes[rows], _ = self._spans.codes(others)
        return CodedKeys(codes, self._keys)

    def _know(self, keys: list[bytes]) -> bool:
        """False at the bound: all keys are forgotten."""
        size = self._spans.bytes_used + sum(map(len, keys))
        if len(self._keys) + len(keys) > _KEYS_MAX or size > _BYTES_MAX:
            self._spans, self._keys = NameSpans(), []
            return False
        self._spans.add(keys)
        self._keys += keys
        return True
