"""Counts the records of a batch by key: where kernels are loaded, without an object a record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray

from streams.core import kernels
from streams.core.records.framed_batch import key_places
from streams.core.types import RecordBatch
from streams.engine.windows.name_spans import NameSpans

_KEYS_MAX: Final = 100_000
_BYTES_MAX: Final = 16 << 20
"""a key may have 1 MB: limits the memory for known keys"""


class KeyCounts:
    """Knows the keys of earlier batches, within a bound."""

    def __init__(self) -> None:
        self._spans = NameSpans()
        self.keys: list[bytes] = []
        """known ones; another list once they were forgotten"""

    def __len__(self) -> int:
        """Known keys."""
        return len(self.keys)

    def of(self, batch: RecordBatch) -> Mapping[bytes, int]:
        """The number of records of each key; those without a key are not counted."""
        codes = self.codes(batch)
        if codes is None:
            return _counted(batch)
        counts = np.bincount(codes)
        present = np.flatnonzero(counts)
        names = (self.keys[code] for code in present.tolist())
        return dict(zip(names, counts[present].tolist(), strict=True))

    def codes(self, batch: RecordBatch) -> NDArray[np.int64] | None:
        """The place in `keys` of each record's key; None where records are read as objects."""
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
        return codes

    def _know(self, keys: list[bytes]) -> bool:
        """False at the bound: all keys are forgotten."""
        size = self._spans.bytes_used + sum(map(len, keys))
        if len(self.keys) + len(keys) > _KEYS_MAX or size > _BYTES_MAX:
            self._spans, self.keys = NameSpans(), []
            return False
        self._spans.add(keys)
        self.keys += keys
        return True


def _counted(batch: RecordBatch) -> Mapping[bytes, int]:
    counts = Counter(batch.keys)
    del counts[None]
    return cast(Counter[bytes], counts)
