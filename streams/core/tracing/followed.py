"""The sampled records of one partition: folded but not settled, settled but not shown.

A commit *settles* a record when it stores the outcome. A record is *shown* once a row that holds it
was sent to its shard. Both sets are bounded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streams.core.records import headers
from streams.core.rows.built_in_tables import offsets_of
from streams.core.tracing.context import TraceContext
from streams.core.types import RecordBatch

LINKS_MAX = 32
"""Per span; more do not help a reader."""
FOLDED_MAX = 256
"""Jobs may wait for minutes."""


@dataclass(frozen=True, slots=True)
class Fold:
    """Times in nanoseconds since the epoch."""

    began_ns: int
    ended_ns: int
    records: int


@dataclass(slots=True)
class Followed:
    """Unsettled records of one trace in one partition."""

    context: TraceContext
    fold: Fold
    first_offset: int
    last_offset: int
    append_ms: int
    """of the last one"""


class Unshown(NamedTuple):
    """The commit ``origin`` settled them, without rows so far."""

    origin: TraceContext
    first_offset: int
    append_ms: int


@dataclass(slots=True)
class FollowedRecords:
    _folded: dict[bytes, Followed] = field(default_factory=dict)
    _unshown: list[Unshown] = field(default_factory=list)

    def folded(self, batch: RecordBatch, fold: Fold) -> None:
        for row in batch.rows_with_headers():
            raw = headers.last(batch.headers[row], headers.TRACEPARENT)
            if raw is not None:
                self._follow(raw, batch.offsets[row], batch.timestamps[row], fold)

    def _follow(self, raw: bytes, offset: int, append_ms: int, fold: Fold) -> None:
        known = self._folded.get(raw)
        if known is not None:
            known.last_offset, known.append_ms = offset, append_ms
        elif len(self._folded) < FOLDED_MAX:
            context = TraceContext.read(raw)
            if context is not None and context.sampled:
                self._folded[raw] = Followed(context, fold, offset, offset, append_ms)

    def settled(self, settles: Callable[[int], bool]) -> list[Followed]:
        """At most `LINKS_MAX` traces with a record that the commit settles."""
        if not self._folded:
            return []
        found = {raw: one for raw, one in self._folded.items() if settles(one.first_offset)}
        for raw, one in found.items():
            if settles(one.last_offset):
                del self._folded[raw]
        return list(found.values())[:LINKS_MAX]

    def await_rows(self, origin: TraceContext, records: list[Followed]) -> None:
        """Beyond `LINKS_MAX` the oldest commits are dropped."""
        first_offset = min(one.first_offset for one in records)
        append_ms = max(one.append_ms for one in records)
        self._unshown.append(Unshown(origin, first_offset, append_ms))
        del self._unshown[:-LINKS_MAX]

    def origins(
        self, since_ms: NDArray[np.int64], versions: NDArray[np.uint64]
    ) -> tuple[TraceContext, ...]:
        """Commits with a record that a row may be first to show: the row's changes start before
        their last append and reach at least their first offset."""
        if not self._unshown:
            return ()
        offsets = offsets_of(versions)
        return tuple(
            one.origin
            for one in self._unshown
            if bool(((since_ms <= one.append_ms) & (offsets >= one.first_offset)).any())
        )

    def shown(self, oldest_unshown_ms: Callable[[], int]) -> None:
        """Drop commits whose records are all in some row."""
        if self._unshown:
            oldest = oldest_unshown_ms()
            self._unshown = [one for one in self._unshown if one.append_ms >= oldest]

    def forget(self) -> None:
        self._folded.clear()
        self._unshown.clear()
