"""All events that a partition remembers.

    recent    growing rows in memory (streams/engine/identities/recent_ids.py)
    closing   full ones; made into runs in slices once they are committed
    runs      immutable files with an index in memory (streams/engine/identities/id_run.py)

A look-up asks every part that may hold the event, and takes the last row in the log. A run holds
committed rows only, and names their entries: after a restart it stands for those entries (`adopt`),
even if the store is older. Its name has the epoch, because a reset restarts the numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from streams.core.derived_files import Files
from streams.core.errors import StoreUnusable
from streams.engine.identities.id_filter import masks
from streams.engine.identities.id_rows import (
    LO,
    LOG,
    IdRows,
    by_event,
    event_ends,
    event_starts,
    later,
)
from streams.engine.identities.id_run import IdRun, read_index
from streams.engine.identities.id_run_builder import IdRunBuilder
from streams.engine.identities.recent_ids import RecentIds


class RememberedIds:
    """``run_rows``: number of recent rows that become a run."""

    def __init__(self, files: Files, epoch: int, run_rows: int) -> None:
        self._files = files
        self._prefix = f"ids-{epoch}-"
        self._run_rows = max(1, run_rows)
        self._recent = RecentIds(self._run_rows)
        self._closing: list[RecentIds] = []
        self._committed = 0
        """number of committed parts in ``_closing``, oldest first"""
        self._runs: list[IdRun] = []
        self._builder: IdRunBuilder | None = None

    def __len__(self) -> int:
        """Rows, including expired ones that are not forgotten."""
        return sum(len(part) for part in self._parts())

    @property
    def bytes_used(self) -> int:
        return sum(part.bytes_used for part in self._parts())

    def _parts(self) -> list[RecentIds | IdRun]:
        return [self._recent, *self._closing, *self._runs]

    # --- look-up -----------------------------------------------------------------------------

    def find(self, needles: IdRows) -> tuple[IdRows, NDArray[np.bool_], NDArray[np.int64]]:
        """The row of each of these distinct events, whether there is one, and its place in the
        recent rows (-1: not there) for `append`. Raises `StoreUnusable`."""
        known = np.zeros_like(needles)
        there = np.zeros(len(needles), np.bool_)
        place = self._recent.find(needles)
        found = np.flatnonzero(place >= 0)
        _keep_latest(known, there, found, self._recent.rows[place[found]])
        self._find_older(needles, known, there)
        return known, there, place

    def _find_older(self, needles: IdRows, known: IdRows, there: NDArray[np.bool_]) -> None:
        for part in self._closing:
            rows = part.find(needles)
            found = np.flatnonzero(rows >= 0)
            _keep_latest(known, there, found, part.rows[rows[found]])
        if self._runs:
            bits = masks(needles[:, LO])
            for run in self._runs:
                _keep_latest(known, there, *self._ask(run, needles, bits))

    def _ask(
        self, run: IdRun, needles: IdRows, bits: NDArray[np.uint64]
    ) -> tuple[NDArray[np.intp], IdRows]:
        try:
            return run.find(needles, bits)
        except StoreUnusable:
            # The store has its entries: the next start makes the run again.
            self._files.remove(run.name)
            raise

    def judge(
        self,
        records: IdRows,
        horizon_ms: NDArray[np.int64],
        ttl_ms: int,
        verdicts: NDArray[np.int8],
    ) -> IdRows:
        """Judge records in order and remember the fresh ones; their rows. Verdicts from the first
        one below 0 on are not judged. Raises `StoreUnusable`."""
        older, there = (
            np.zeros((len(records), records.shape[1]), np.uint64),
            np.zeros(len(records), np.bool_),
        )
        self._find_older(records, older, there)
        first = len(self._recent)
        judged = self._recent.judge(records, horizon_ms, (older, there), ttl_ms, verdicts)
        verdicts[judged:] = -1
        return self._recent.since(first)

    # --- growing -----------------------------------------------------------------------------

    def append(self, fresh: IdRows, counts: NDArray[np.intp], place: NDArray[np.int64]) -> None:
        self._recent.append(fresh, counts, place)

    def restore(self, number: int, rows: IdRows) -> None:
        """Take the rows of a committed entry without a run."""
        order = by_event(rows)
        starts = event_starts(rows[order])
        fresh = rows[np.sort(order[event_ends(starts, len(order)) - 1])]
        place = self._recent.find(fresh)
        found = np.flatnonzero(place >= 0)
        wanted = np.ones(len(fresh), np.bool_)
        wanted[found] = later(fresh[found], self._recent.rows[place[found]])
        fresh = fresh[wanted]
        self._recent.append(fresh, np.arange(len(fresh)), place[wanted])
        self.written(number, int(rows[:, LOG].max(initial=0)))
        self.close_full()
        self.confirm()
        if self._committed > 1:  # make later runs later: a start should not wait
            self.step(len(rows))

    def written(self, number: int, latest_ms: int) -> None:
        """Rows appended since the last call are in entry ``number``."""
        self._recent.entries[number] = latest_ms

    def close_full(self) -> None:
        """Close the recent rows if they fill a run. All of them must be written."""
        if len(self._recent) >= self._run_rows:
            self._closing.append(self._recent)
            self._recent = RecentIds(self._run_rows)

    def confirm(self) -> None:
        """All closed rows are committed."""
        self._committed = len(self._closing)

    def step(self, events: int) -> None:
        """Work on the oldest closing rows, in proportion to ``events`` new events."""
        if not self._committed:
            return
        if self._builder is None:
            recent = self._closing[0]
            name = f"{self._prefix}{min(recent.entries):020d}"
            self._builder = IdRunBuilder(recent, self._files, name)
        run = self._builder.step(_WORK_PER_EVENT * events)
        if run is not None:
            self._builder = None
            self._runs.append(run)
            del self._closing[0]
            self._committed -= 1

    # --- shrinking, restarting ---------------------------------------------------------------

    def forget(self, horizon_ms: int) -> None:
        """Drop parts that hold only rows before ``horizon_ms`` in log time."""
        for run in [run for run in self._runs if run.latest_ms < horizon_ms]:
            self._runs.remove(run)
            run.close()
            self._files.remove(run.name)
        while self._committed and self._closing[0].latest_ms < horizon_ms:
            if self._builder is not None:
                self._builder.close()
                self._builder = None
            del self._closing[0]
            self._committed -= 1
        if len(self._recent) and self._recent.latest_ms < horizon_ms:
            self._recent = RecentIds(self._run_rows)

    def adopt(self, numbers: Sequence[int]) -> dict[int, int]:
        """Open the runs that stand for live entries: those entries and their latest log times.
        Deletes unused files."""
        live = set(numbers)
        adopted: dict[int, int] = {}
        for name in self._files.names():
            run = self._opened(name) if name.startswith(self._prefix) else None
            if run is None or live.isdisjoint(run.entries):
                self._files.remove(name)
                continue
            self._runs.append(run)
            adopted.update((n, latest) for n, latest in run.entries.items() if n in live)
        return adopted

    def _opened(self, name: str) -> IdRun | None:
        file = self._files.open(name)
        try:
            return IdRun(file, read_index(file))
        except StoreUnusable:
            file.close()
            return None


_WORK_PER_EVENT = 4
"""a run handles each row twice; this completes it in half the time in which the next one fills"""


def _keep_latest(
    known: IdRows, there: NDArray[np.bool_], at: NDArray[np.intp], rows: IdRows
) -> None:
    better = ~there[at] | later(rows, known[at])
    known[at[better]] = rows[better]
    there[at] = True
