"""The latest events: rows in memory, in log order, with a hash table."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streams.core import kernels
from streams.engine.identities.id_rows import HI, LO, LOG, IdRows, empty
from streams.engine.state.row_table import RowTable

_FIRST_ROWS = 32_768
"""A quiet partition keeps a table of half a MiB, in the processor's cache. In a full one, 16 MiB, each
of its first thousands of ids would have a page of its own cleared."""


class RecentIds:
    """About 56 bytes an event. It holds 1.5 times ``capacity`` without copying, as it is closed
    only at a commit."""

    def __init__(self, capacity: int) -> None:
        self._rows = empty(capacity + capacity // 2)
        self._used = 0
        self._table = RowTable(capacity, _FIRST_ROWS)
        self.entries: dict[int, int] = {}
        """Number and latest log time of the written entries whose rows are here."""
        self.latest_ms = 0

    def __len__(self) -> int:
        return self._used

    @property
    def bytes_used(self) -> int:
        return self._used * 56

    @property
    def rows(self) -> IdRows:
        return self._rows[: self._used]

    def find(self, needles: IdRows) -> NDArray[np.int64]:
        """The row of each event, or -1. Reads only the hashes of ``needles``."""
        rows = self._rows

        def meant(candidates: NDArray[np.int64], index: NDArray[np.intp]) -> NDArray[np.bool_]:
            same: NDArray[np.bool_] = rows[candidates, HI] == needles[index, HI]
            same &= rows[candidates, LO] == needles[index, LO]
            return same

        return self._table.find(np.ascontiguousarray(needles[:, HI]), meant)

    def judge(
        self,
        records: IdRows,
        horizon_ms: NDArray[np.int64],
        older: tuple[IdRows, NDArray[np.bool_]],
        ttl_ms: int,
        verdicts: NDArray[np.int8],
    ) -> int:
        """Judge records in log order by the kernel (streams/core/kernels/identities.py), and add
        the fresh ones; the number of records judged."""
        loops = kernels.active
        assert loops is not None, "records are judged in order where kernels are loaded"
        self._have_room(len(records))
        first = self._used
        places = self._table.with_room(len(records))
        judged, self._used, entered = loops.admit(
            places, self._rows, first, records, horizon_ms, *older, ttl_ms, verdicts
        )
        self._table.entered(entered)
        if self._used > first:
            self.latest_ms = max(self.latest_ms, int(self._rows[self._used - 1, LOG]))
        return int(judged)

    def since(self, first: int) -> IdRows:
        return self._rows[first : self._used]

    def _have_room(self, count: int) -> None:
        if self._used + count > len(self._rows):
            grown = empty(max(2 * len(self._rows), self._used + count))
            grown[: self._used] = self._rows[: self._used]
            self._rows = grown

    def append(self, fresh: IdRows, counts: NDArray[np.intp], known: NDArray[np.int64]) -> None:
        """Add rows in log order. ``counts``: indexes of the counting row of each event; ``known``:
        the row from `find` that each of those replaces, or -1."""
        self._have_room(len(fresh))
        first, self._used = self._used, self._used + len(fresh)
        self._rows[first : self._used] = fresh
        if len(fresh):
            self.latest_ms = max(self.latest_ms, int(fresh[-1, LOG]))
        hashes, rows = fresh[counts, HI], first + counts.astype(np.int64)
        new = known < 0
        self._table.add(hashes[new], rows[new])
        if not new.all():
            self._table.replace(hashes[~new], known[~new], rows[~new])
