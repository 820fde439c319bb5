"""Counts the records of a batch by key: where kernels are loaded, without an object a record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import cast

import numpy as np

from streams.core.types import RecordBatch
from streams.engine.decode.key_codes import KeyCodes


class KeyCounts:
    def __init__(self) -> None:
        self._codes = KeyCodes()

    def of(self, batch: RecordBatch) -> Mapping[bytes, int]:
        """The number of records of each key; those without a key are not counted."""
        coded = self._codes.of(batch)
        if coded is None:
            counts = Counter(batch.keys)
            del counts[None]
            return cast(Counter[bytes], counts)
        records = np.bincount(coded.codes)
        present = np.flatnonzero(records)
        names = (coded.keys[code] for code in present.tolist())
        return dict(zip(names, records[present].tolist(), strict=True))
