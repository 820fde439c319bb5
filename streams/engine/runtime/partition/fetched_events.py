"""Decoded records of one fetch, by row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streams.core.topics.topic import tenant_of
from streams.core.types import RecordBatch
from streams.engine.decode.codecs import BadPosition, Decoded

_TENANTS_KNOWN: Final = 64


class FetchedEvents:
    """``items[row]`` is the event, or a `BadPosition`. ``event_ms[row]`` is its event time.
    ``watermark_ms[row]`` is the maximum of min(event time, append time) up to that row."""

    __slots__ = (
        "_last_of_others", "_reached", "bad_rows", "batch", "bytes", "dead", "event_ms", "items", "told",
        "watermark_ms",
    )  # fmt: skip

    def __init__(self, batch: RecordBatch, decoded: Decoded) -> None:
        self.batch = batch
        self.bytes = sum(len(value) for value in batch.values if value is not None)
        self.bad_rows = [bad.position for bad in decoded.bad]
        self.items: Sequence[Any] = decoded.events
        times, reached = decoded.event_ms, np.minimum(decoded.event_ms, decoded.append_ms)
        if decoded.bad:
            self.items, times, reached = _with_bad(batch, decoded, reached)
        self._reached = reached
        self.event_ms: list[int] = times.tolist()
        self.watermark_ms: list[int] = np.maximum.accumulate(reached).tolist()
        self.told = 0
        """rows counted in the partition's progress"""
        self.dead = 0
        """dead letters among the completed rows behind ``told``"""
        self._last_of_others: dict[str, int] = {}

    def skip(self, rows: int) -> None:
        """The first ``rows`` rows were not read: their times move no watermark."""
        self._reached[:rows] = 0
        self.watermark_ms = np.maximum.accumulate(self._reached).tolist()
        self.told, self.dead = rows, 0

    def last_of_others(self, tenant: str) -> int:
        """The last row whose event is another tenant's; -1 if there is none."""
        if (found := self._last_of_others.get(tenant)) is None:
            rows = range(len(self.items) - 1, -1, -1)
            found = next((row for row in rows if self._of_another(row, tenant)), -1)
            if len(self._last_of_others) >= _TENANTS_KNOWN:
                self._last_of_others.clear()
            self._last_of_others[tenant] = found
        return found

    def _of_another(self, row: int, tenant: str) -> bool:
        event = self.items[row]
        return type(event) is not BadPosition and tenant_of(event) != tenant

    def completed(self, until: int, end_offset: int) -> tuple[RecordBatch, Sequence[Any]]:
        """The records, without headers, and the events of the rows behind ``told`` and before ``until``."""
        batch, rows = self.batch, slice(self.told, until)
        passed = RecordBatch(
            batch.tp,
            batch.offsets[self.told],
            end_offset,
            *(batch.offsets[rows], batch.timestamps[rows], batch.keys[rows], batch.values[rows]),
        )
        return passed, self.items[rows]


def _with_bad(
    batch: RecordBatch, decoded: Decoded, reached: NDArray[np.int64]
) -> tuple[list[Any], NDArray[np.int64], NDArray[np.int64]]:
    items: list[Any] = [None] * len(batch)
    times, marks = np.zeros(len(batch), np.int64), np.zeros(len(batch), np.int64)
    for bad in decoded.bad:
        items[bad.position] = bad
    positions = [] if decoded.positions is None else [*decoded.positions]
    for position, event in zip(positions, decoded.events, strict=True):
        items[position] = event
    times[positions], marks[positions] = decoded.event_ms, reached
    return items, times, marks


def fetched_row(fetches: Iterable[FetchedEvents], row: int) -> tuple[FetchedEvents, int]:
    """The fetch that holds ``row``, counted from the first fetch on, and the row in it."""
    for fetched in fetches:
        if row < len(fetched.items):
            return fetched, row
        row -= len(fetched.items)
    raise IndexError(row)


def next_rows(fetches: Iterable[FetchedEvents], first: int, count: int) -> tuple[list[int], bool]:
    """Rows of the next ``count`` events from row ``first`` of the first fetch on, and whether there
    are that many."""
    rows: list[int] = []
    ahead = 0
    for fetched in fetches:
        for item in fetched.items[first:]:
            if type(item) is not BadPosition:
                rows.append(ahead)
                if len(rows) == count:
                    return rows, True
            ahead += 1
        first = 0
    return rows, False
