"""The table of seen events, which makes repeats harmless.

Key: 128-bit hash of tenant and event id. Value: append time and log time
(streams/engine/state/log_time.py) of the first record, and the hash of its payload. A record is a
*duplicate* if the first one was appended at most ``ttl`` before it and is not before its horizon in
log time, and a *conflict* if its payload also differs. So a verdict depends on the log alone.

A commit writes its ids as one entry (hash, payload and both times, by column).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from streams.core import kernels
from streams.core.derived_files import Files
from streams.engine.identities.id_rows import (
    APPEND,
    LOG,
    PAYLOAD,
    IdRows,
    by_event,
    event_ends,
    event_starts,
)
from streams.engine.identities.id_shares import IdShares, Owners
from streams.engine.identities.remembered_ids import RememberedIds
from streams.engine.state.log_time import LogTimes
from streams.engine.state.runs import run_starts
from streams.engine.state.table import MAX_ENTRY_BYTES, Entry

ID_BYTES = 40
"""one id in an entry: five columns of eight bytes"""
_ROWS_PER_ENTRY = MAX_ENTRY_BYTES // ID_BYTES
_ENTRIES_PER_COMMIT = 1 << 16
_RUNS_MAX = 16
"""runs of a table at its bound: keeps the expired rows a small part"""


class Verdict(IntEnum):
    FRESH = 0
    DUPLICATE = 1
    CONFLICT = 2
    OVER_QUOTA = 3


class SeenEvents:
    """The `Table` of seen events (protocol: streams/engine/state/table.py)."""

    def __init__(
        self,
        ttl_ms: int,
        files: Files,
        epoch: int = 0,
        max_ids: int = 20_000_000,
        hot_ids: int = 1_000_000,
        quota: int = 0,
    ) -> None:
        self._ttl_ms = ttl_ms
        self._shares = IdShares(ttl_ms, max_ids, quota)
        self._ids = RememberedIds(files, epoch, min(hot_ids, max_ids // _RUNS_MAX))
        self._pending: list[IdRows] = []
        self._entries: dict[int, int] = {}
        self._rewritten: list[tuple[bytes, bytes]] = []
        self._horizon_ms = 0

    def __len__(self) -> int:
        """Remembered events, including expired ones that are not forgotten."""
        return len(self._ids)

    @property
    def bytes_used(self) -> int:
        return self._ids.bytes_used

    @property
    def changed(self) -> bool:
        return bool(self._pending)

    def admit(
        self,
        hi: NDArray[np.uint64],
        lo: NDArray[np.uint64],
        payload: NDArray[np.uint64],
        append_ms: NDArray[np.int64],
        log: LogTimes,
        owners: Owners | None = None,
    ) -> NDArray[np.int8]:
        """A `Verdict` for each record of a batch (parallel columns, in log order). Only fresh ones
        are remembered.

        A fresh record is over quota if its tenant (``owners``; None: one tenant) may bring no more
        ids; so are its repeats in the batch. Raises `StoreUnusable` if ids on disk cannot be read.
        """
        count = len(hi)
        if not count:
            return np.empty(0, np.int8)
        owners = owners or Owners(np.zeros(count, np.int64), ("",))
        times = append_ms.view(np.uint64), log.at_ms.view(np.uint64)
        rows = np.stack([hi, lo, payload, *times], axis=1)
        verdicts = np.full(count, -1, np.int8)
        if kernels.active is not None and self._shares.suffice(count, len(self)):
            self._admit_in_order(rows, log, owners, verdicts)
        rest = np.flatnonzero(verdicts < 0)
        if len(rest):
            its = LogTimes(*(column[rest] for column in log))
            its_owners = Owners(owners.codes[rest], owners.names)
            verdicts[rest] = self._admit_together(rows[rest], its, its_owners)
        self._horizon_ms = int(log.horizon_ms[-1])
        self._ids.step(count)
        return verdicts

    def _admit_in_order(
        self, rows: IdRows, log: LogTimes, owners: Owners, verdicts: NDArray[np.int8]
    ) -> None:
        """Judge by the kernel, when no quota can be exceeded. Undecided verdicts stay -1."""
        alive = len(self)
        fresh = self._ids.judge(rows, log.horizon_ms, self._ttl_ms, verdicts)
        if len(fresh):
            codes = owners.codes[verdicts == Verdict.FRESH]
            self._shares.take_all(codes, owners.names, alive, int(log.at_ms[-1]))
            self._pending.append(fresh)

    def _admit_together(self, rows: IdRows, log: LogTimes, owners: Owners) -> NDArray[np.int8]:
        count = len(rows)
        order = by_event(rows)
        ordered = rows[order]
        starts = event_starts(ordered)
        known, there, place = self._ids.find(ordered[starts])
        event = np.repeat(np.arange(len(starts)), np.diff(starts, append=count))
        verdicts = np.empty(count, np.int8)
        verdicts[order] = _judge(
            ordered, starts, event, known, there, self._ttl_ms, log.horizon_ms[order]
        )
        fresh = verdicts == Verdict.FRESH
        if fresh.any():
            at_ms = int(log.at_ms[-1])
            beyond = self._shares.take(np.flatnonzero(fresh), owners, len(self), at_ms)
            if beyond is not None:
                _refuse(verdicts, beyond, order, event)
                fresh = verdicts == Verdict.FRESH
        if fresh.any():
            # If an event expired within the batch, its last fresh record counts.
            at = np.flatnonzero(fresh[order])
            last = at[event_ends(run_starts(event[at]), len(at)) - 1]
            counting = (np.cumsum(fresh) - 1)[order[last]]
            self._ids.append(rows[fresh], counting, place[event[last]])
            self._pending.append(rows[fresh])
        return verdicts

    # --- state (Table) -----------------------------------------------------------------------

    def delta(self, seq: int) -> list[Entry]:
        self._ids.confirm()
        entries: list[Entry] = self._write(seq) if self._pending else []
        self._ids.close_full()
        horizon = self._horizon_ms
        gone = [number for number, latest in self._entries.items() if latest < horizon]
        for number in gone:
            del self._entries[number]
            entries.append((_key(number), None))
        entries += [(key, value) for key, value in self._rewritten if _number(key) in self._entries]
        self._rewritten = []
        self._ids.forget(horizon)
        self._shares.forget(horizon)
        return entries

    def _write(self, seq: int) -> list[Entry]:
        rows = np.concatenate(self._pending)
        self._pending = []
        entries: list[Entry] = []
        number = seq * _ENTRIES_PER_COMMIT
        for start in range(0, len(rows), _ROWS_PER_ENTRY):
            cut = slice(start, start + _ROWS_PER_ENTRY)
            latest_ms = int(rows[cut, LOG].max())
            self._entries[number] = latest_ms
            self._ids.written(number, latest_ms)
            entries.append((_key(number), _encode(rows[cut])))
            number += 1
        return entries

    def rewrite(self, key: bytes, value: bytes) -> None:
        self._rewritten.append((key, value))

    def adopt(self, keys: Sequence[bytes]) -> Sequence[bytes]:
        self._entries = self._ids.adopt([_number(key) for key in keys])
        return [key for key in keys if _number(key) not in self._entries]

    def load(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        for key, value in items:
            rows = _decode(value)
            latest_ms = int(rows[:, LOG].max(initial=0))
            self._entries[_number(key)] = latest_ms
            self._ids.restore(_number(key), rows)


def _judge(
    ordered: IdRows,
    starts: NDArray[np.intp],
    event: NDArray[np.intp],
    known: IdRows,
    there: NDArray[np.bool_],
    ttl_ms: int,
    horizon_ms: NDArray[np.int64],
) -> NDArray[np.int8]:
    """Verdicts for rows ordered by event: row i is of ``event[i]``; event e begins at ``starts[e]``
    and, if ``there[e]``, has the earlier row ``known[e]``."""
    alive = there & ~_forgotten(ordered[starts], known, ttl_ms, horizon_ms[starts])
    first = np.where(alive[:, None], known, ordered[starts])
    same = ordered[:, PAYLOAD] == first[event, PAYLOAD]
    verdicts = np.where(same, Verdict.DUPLICATE, Verdict.CONFLICT).astype(np.int8)
    verdicts[starts[~alive]] = Verdict.FRESH
    # Rare: the event expired between two records of one batch.
    expired = _forgotten(ordered, first[event], ttl_ms, horizon_ms)
    for number in np.unique(event[expired]).tolist():
        its = event == number
        before = known[number] if there[number] else None
        verdicts[its] = _one_by_one(ordered[its], before, ttl_ms, horizon_ms[its])
    return verdicts


def _refuse(
    verdicts: NDArray[np.int8],
    beyond: NDArray[np.intp],
    order: NDArray[np.intp],
    event: NDArray[np.intp],
) -> None:
    """Mark the records at ``beyond`` over quota, and the later ones of the same events.
    ``event[i]`` is the event of ``order[i]``."""
    event_of = np.empty(len(order), np.intp)
    event_of[order] = event
    refused_at = np.full(int(event.max()) + 1, len(order), np.intp)
    np.minimum.at(refused_at, event_of[beyond], beyond)
    verdicts[np.arange(len(order)) >= refused_at[event_of]] = Verdict.OVER_QUOTA


def _forgotten(
    rows: IdRows, first: IdRows, ttl_ms: int, horizon_ms: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Which of ``rows`` are too late to repeat the row ``first`` of their event."""
    appended_ms = (rows[:, APPEND] - first[:, APPEND]).view(np.int64)
    late: NDArray[np.bool_] = first[:, LOG].view(np.int64) < horizon_ms
    late |= appended_ms > ttl_ms
    return late


def _one_by_one(
    rows: IdRows, known: NDArray[np.uint64] | None, ttl_ms: int, horizon_ms: NDArray[np.int64]
) -> list[Verdict]:
    first = known.tolist() if known is not None else None
    verdicts: list[Verdict] = []
    for row, horizon in zip(rows.tolist(), horizon_ms.tolist(), strict=True):
        if first is None or row[APPEND] - first[APPEND] > ttl_ms or first[LOG] < horizon:
            first = row
            verdicts.append(Verdict.FRESH)
        elif row[PAYLOAD] == first[PAYLOAD]:
            verdicts.append(Verdict.DUPLICATE)
        else:
            verdicts.append(Verdict.CONFLICT)
    return verdicts


def _key(number: int) -> bytes:
    return number.to_bytes(8, "big")


def _number(key: bytes) -> int:
    return int.from_bytes(key, "big")


def _encode(rows: IdRows) -> bytes:
    """By column, which compresses far better."""
    hashes, append_ms = rows[:, :APPEND].T.tobytes(), rows[:, APPEND].tobytes()
    ahead_ms = (rows[:, APPEND] - rows[:, LOG]).tobytes()  # nearly always 0
    return hashes + append_ms + ahead_ms


def _decode(value: bytes) -> IdRows:
    hi, lo, payload, append_ms, ahead_ms = np.frombuffer(value, np.uint64).reshape(5, -1)
    return np.stack([hi, lo, payload, append_ms, append_ms - ahead_ms], axis=1)
