"""Which events came before: the table that makes a repeated event harmless.

Key: 128-bit hash of tenant and event id. Value: offset and append time of the first record, and
the hash of its payload. A record is a *duplicate* if the first one's append time lies at most
``ttl`` before its own (the first is not refreshed), and a *conflict* if it is one whose payload
differs. Counting in append time makes the verdict a property of the log: it comes out the same
however late, or however often, the log is read.

Recent ids are in a dict (one C-level ``setdefault`` per record); beyond ``hot_ids`` they move to
sorted runs (tables/id_runs.py). On disk and in the changelog an entry holds the ids of one
commit, so an id costs no key of its own anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from streams.errors import StateLimit
from tables.id_runs import IdRuns, Ids, concatenate
from tables.table import MAX_ENTRY_BYTES, Entry

_ROW = np.dtype(
    [("hi", "<u8"), ("lo", "<u8"), ("payload", "<u8"), ("offset", "<i8"), ("append_ms", "<i8")]
)
ID_BYTES = _ROW.itemsize
"""One remembered id in an entry."""
_ROWS_PER_ENTRY = MAX_ENTRY_BYTES // ID_BYTES
_ENTRIES_PER_COMMIT = 1 << 16
_CLOCK_SLACK_MS = 60_000
"""Append times may step back when a partition changes leaders: ids are kept this much longer."""


class Verdict(IntEnum):
    """What `SeenEvents.admit` says of a record."""

    FRESH = 0
    DUPLICATE = 1
    CONFLICT = 2


class SeenEvents:
    """The `Table` of seen events of one partition (protocol: tables/table.py)."""

    def __init__(self, ttl_ms: int, max_ids: int = 20_000_000, hot_ids: int = 500_000) -> None:
        self._ttl_ms = ttl_ms
        self._max_ids = max_ids
        self._hot_ids = hot_ids
        self._hot: dict[int, int] = {}
        self._collided: dict[tuple[int, int], int] = {}
        self._rows = np.empty(4096, _ROW)
        self._used = 0
        self._pending: list[NDArray[np.intp]] = []
        self._runs = IdRuns()
        self._entries: dict[int, int] = {}
        self._rewritten: list[tuple[bytes, bytes]] = []
        self._latest_ms = 0

    def __len__(self) -> int:
        """Remembered events, expired ones not yet forgotten included."""
        return len(self._hot) + len(self._runs)

    @property
    def bytes_used(self) -> int:
        return len(self._hot) * 170 + len(self._runs) * _ROW.itemsize

    @property
    def changed(self) -> bool:
        return bool(self._pending)

    def admit(
        self,
        hi: NDArray[np.uint64],
        lo: NDArray[np.uint64],
        payload: NDArray[np.uint64],
        offsets: NDArray[np.int64],
        append_ms: NDArray[np.int64],
    ) -> NDArray[np.int8]:
        """A `Verdict` for each record of a batch (parallel columns, in log order); fresh ones
        are remembered from here on, the others leave no trace.

        Raises `StateLimit` when more ids are alive than the partition may hold: pausing would
        not help, since ids expire in append time, which then stands still.
        """
        count = len(hi)
        if len(self) + count > self._max_ids:
            raise StateLimit(
                f"{len(self)} event ids are alive in one partition, the bound is DIA_MAX_IDS="
                f"{self._max_ids}. Raise it, shorten DIA_DEDUPE_TTL_S, or add partitions."
            )
        first = self._append(hi, lo, payload, offsets, append_ms)
        own = range(first, first + count)
        rows = np.array(list(map(self._hot.setdefault, hi.tolist(), own)), np.intp)
        verdicts = np.zeros(count, np.int8)
        new = np.flatnonzero(rows == np.arange(first, first + count))
        verdicts[new] = self._judge_new(new, first)
        known = np.flatnonzero(rows != np.arange(first, first + count))
        if len(known):
            self._judge_known(known, rows[known], first, verdicts)
        fresh = np.flatnonzero(verdicts == Verdict.FRESH)
        if len(fresh):
            self._pending.append(fresh + first)
        if count:
            self._latest_ms = max(self._latest_ms, int(append_ms.max()))
        return verdicts

    def _append(self, *columns: NDArray[np.generic]) -> int:
        first, count = self._used, len(columns[0])
        if first + count > len(self._rows):
            grown = np.empty(max(2 * len(self._rows), first + count), _ROW)
            grown[:first] = self._rows[:first]
            self._rows = grown
        for name, column in zip(_ROW.names or (), columns, strict=True):
            self._rows[name][first : first + count] = column
        self._used += count
        return first

    def _judge_new(self, new: NDArray[np.intp], first: int) -> NDArray[np.int8]:
        """Records whose hash is not hot: they may be in the runs."""
        verdicts = np.zeros(len(new), np.int8)
        if not len(self._runs):
            return verdicts
        rows = self._rows[first + new]
        position, found = self._runs.find(rows["hi"], rows["lo"])
        alive = rows["append_ms"][position] - found.append_ms <= self._ttl_ms
        position, found = position[alive], found.take(alive)
        verdicts[position] = _verdict(found.payload == rows["payload"][position])
        # The hot row stands for the first occurrence from now on: give it the first's data.
        slot = first + new[position]
        for name in ("payload", "offset", "append_ms"):
            self._rows[name][slot] = getattr(found, name)
        return verdicts

    def _judge_known(
        self,
        known: NDArray[np.intp],
        rows: NDArray[np.intp],
        first: int,
        verdicts: NDArray[np.int8],
    ) -> None:
        """Records whose upper hash half is hot, usually because the event is."""
        mine, theirs = self._rows[first + known], self._rows[rows]
        plain = (mine["lo"] == theirs["lo"]) & (
            mine["append_ms"] - theirs["append_ms"] <= self._ttl_ms
        )
        # A replayed record is older than its neighbours: where one record of the batch outlives
        # the first, the others must be compared with whichever is the first by then.
        plain &= ~np.isin(rows, rows[~plain])
        verdicts[known[plain]] = _verdict(theirs["payload"][plain] == mine["payload"][plain])
        for position in known[~plain].tolist():
            verdicts[position] = self._judge_one(first + position)

    def _judge_one(self, row: int) -> int:
        """The rare cases, one at a time: an expired first, or two events with one half hash."""
        mine = self._rows[row]
        hi, lo = int(mine["hi"]), int(mine["lo"])
        hot = self._hot[hi]
        shared = int(self._rows[hot]["lo"]) != lo
        earlier = self._collided.get((hi, lo)) if shared else hot
        theirs = self._rows[earlier] if earlier is not None else None
        if theirs is None:
            _, found = self._runs.find(mine["hi"].reshape(1), mine["lo"].reshape(1))
            if len(found):
                theirs = {"append_ms": found.append_ms[0], "payload": found.payload[0]}
        if theirs is not None and mine["append_ms"] - theirs["append_ms"] <= self._ttl_ms:
            same = theirs["payload"] == mine["payload"]
            return Verdict.DUPLICATE if same else Verdict.CONFLICT
        if shared:
            self._collided[hi, lo] = row
        else:
            self._hot[hi] = row
        return Verdict.FRESH

    # --- state (Table) -----------------------------------------------------------------------

    def delta(self, seq: int) -> list[Entry]:
        entries: list[Entry] = self._write(seq) if self._pending else []
        horizon = self._latest_ms - self._ttl_ms - _CLOCK_SLACK_MS
        gone = [number for number, latest in self._entries.items() if latest < horizon]
        for number in gone:
            del self._entries[number]
            entries.append((number.to_bytes(8, "big"), None))
        entries += [
            (key, value)
            for key, value in self._rewritten
            if int.from_bytes(key, "big") in self._entries
        ]
        self._rewritten = []
        if self._used > self._hot_ids:
            self._cool(horizon)
        return entries

    def _write(self, seq: int) -> list[Entry]:
        rows = self._rows[np.concatenate(self._pending)]
        self._pending = []
        entries: list[Entry] = []
        number = seq * _ENTRIES_PER_COMMIT
        for start in range(0, len(rows), _ROWS_PER_ENTRY):
            part = rows[start : start + _ROWS_PER_ENTRY]
            self._entries[number] = int(part["append_ms"].max())
            # Column by column: neighbours compress far better than rows do.
            value = b"".join(
                np.ascontiguousarray(part[name]).tobytes() for name in _ROW.names or ()
            )
            entries.append((number.to_bytes(8, "big"), value))
            number += 1
        return entries

    def _cool(self, horizon_ms: int) -> None:
        """Move everything hot to the runs. Only between `delta` and the next batch: every row
        is written by then."""
        rows = [*self._hot.values(), *self._collided.values()]
        self._runs.add(_ids(self._rows[np.array(rows, np.intp)]), horizon_ms)
        self._hot.clear()
        self._collided.clear()
        self._used = 0

    def rewrite(self, key: bytes, value: bytes) -> None:
        self._rewritten.append((key, value))

    def load(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        parts: list[Ids] = []
        for key, value in items:
            ids = _decode(value)
            parts.append(ids)
            latest = int(ids.append_ms.max(initial=0))
            self._entries[int.from_bytes(key, "big")] = latest
            self._latest_ms = max(self._latest_ms, latest)
        self._runs.add(concatenate(parts), self._latest_ms - self._ttl_ms - _CLOCK_SLACK_MS)


def _verdict(same_payload: NDArray[np.bool_]) -> NDArray[np.int8]:
    return np.where(same_payload, Verdict.DUPLICATE, Verdict.CONFLICT).astype(np.int8)


def _ids(rows: NDArray[np.void]) -> Ids:
    return Ids(rows["hi"], rows["lo"], rows["payload"], rows["offset"], rows["append_ms"])


def _decode(value: bytes) -> Ids:
    count = len(value) // _ROW.itemsize
    columns = []
    for index, name in enumerate(_ROW.names or ()):
        columns.append(np.frombuffer(value, _ROW[name], count, index * 8 * count))
    return Ids(*columns)
