"""Makes a run from rows in memory in slices, so that no batch waits for all of it.

 B1  cut the rows into pieces and sort each by hash
 B2  for each range of hashes, join the pieces, keep the counting row of each event, write whole blocks
 B3  write the index and publish the file

The caller limits the rows of a step; each row is handled twice, at about 0.1 us. A run is complete
before as many events are admitted as it has rows, and no step takes longer than the batch that pays
for it.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from streams.core.derived_files import Files
from streams.engine.identities.id_filter import IdFilter, masks
from streams.engine.identities.id_rows import HI, LO, IdRows, by_event, empty, latest
from streams.engine.identities.id_run import BLOCK_BYTES, ROWS_PER_BLOCK, IdRun, RunIndex
from streams.engine.identities.recent_ids import RecentIds

_PIECE_ROWS = 1 << 15
_RANGE_ROWS = 1 << 14


@dataclass(slots=True)
class _Piece:
    """Rows ``order`` of the recent ids, ascending by hash; range r is bounds[r]:bounds[r + 1]."""

    order: NDArray[np.int32]
    bounds: NDArray[np.intp]


class IdRunBuilder:
    """Turns an unchanging `RecentIds` into an `IdRun` called ``name``."""

    def __init__(self, recent: RecentIds, files: Files, name: str) -> None:
        self.recent = recent
        self._files = files
        self._name = name
        self._work = self._steps()

    def step(self, rows: int) -> IdRun | None:
        """Handle about ``rows`` rows; the run, once it is published. Raises `StoreUnusable`."""
        try:
            while rows > 0:
                rows -= next(self._work)
        except StopIteration as done:
            run: IdRun = done.value
            return run
        return None

    def close(self) -> None:
        self._work.close()

    def _steps(self) -> Generator[int, None, IdRun]:
        """Yields rows handled since the last yield; returns the run."""
        rows = self.recent.rows
        ranges = max(1, len(rows) // _RANGE_ROWS)
        limits = np.array([(number << 64) // ranges for number in range(1, ranges)], np.uint64)
        pieces: list[_Piece] = []
        for start in range(0, len(rows), _PIECE_ROWS):  # B1
            hi = rows[start : start + _PIECE_ROWS, HI]
            order = by_event(rows[start : start + _PIECE_ROWS])
            inner = np.searchsorted(hi[order], limits)
            pieces.append(_Piece((start + order).astype(np.int32), np.r_[0, inner, len(order)]))
            yield len(order)
        with self._files.create(self._name) as file:
            blocks = _Blocks(len(rows))
            for number in range(ranges):  # B2
                chosen = [p.order[p.bounds[number] : p.bounds[number + 1]] for p in pieces]
                part = latest(rows[np.concatenate(chosen)])
                file.append(blocks.add(part))
                yield len(part)
            file.append(blocks.finish())  # B3
            index = blocks.index(self.recent.entries)
            file.append(index.encode())
            file.publish()
        return IdRun(self._files.open(self._name), index)


class _Blocks:
    def __init__(self, rows_max: int) -> None:
        self._filter = IdFilter.for_events(rows_max)
        self._rest = empty(0)
        self._first: list[int] = []
        self._digests: list[int] = []
        self._count = 0

    def add(self, rows: IdRows) -> bytes:
        """The full blocks."""
        self._filter.add(rows[:, HI], masks(rows[:, LO]))
        rows = np.concatenate([self._rest, rows])
        whole = len(rows) // ROWS_PER_BLOCK * ROWS_PER_BLOCK
        self._rest = rows[whole:]
        return self._cut(rows[:whole])

    def finish(self) -> bytes:
        rest, self._rest = self._rest, empty(0)
        return self._cut(rest)

    def index(self, entries: dict[int, int]) -> RunIndex:
        return RunIndex(
            self._count,
            np.array(self._first, np.uint64),
            np.array(self._digests, np.uint64),
            self._filter,
            np.array(list(entries.items()), np.int64).reshape(-1, 2),
        )

    def _cut(self, rows: IdRows) -> bytes:
        data = rows.tobytes()
        self._first += rows[::ROWS_PER_BLOCK, HI].tolist()
        self._digests += [
            xxh3_64_intdigest(data[at : at + BLOCK_BYTES])
            for at in range(0, len(data), BLOCK_BYTES)
        ]
        self._count += len(rows)
        return data
