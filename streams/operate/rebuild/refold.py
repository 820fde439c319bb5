"""Folds a part of a partition's log again, with the agent and the tables of the engine.

The agent gets the same events as when it first folded the log: a record that has a dead letter, or
was shed by order, is left out. Ids are remembered from the first record that is read on, so reading
begins that long before the first record that can matter. Only the windows of the range are
kept, one state for each piece of a window (`streams.operate.rebuild.incarnations`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from streams.connect.broker.log_range import read_range
from streams.core.command_errors import RebuildRefused
from streams.core.derived_files import Files
from streams.core.records.event_fields import Texts
from streams.core.records.framed_batch import offset_array, timestamp_array
from streams.core.rows.built_in_tables import WindowRows, version_of
from streams.core.settings import Settings
from streams.core.types import LogReader, OffsetOutOfRange, RecordBatch, TopicPartition
from streams.engine.agents.agent import AgentSpec, EventBatch
from streams.engine.decode.codecs import Decoded, Limits, decode
from streams.engine.decode.scanning import Scanner
from streams.engine.engine_tables import MINUTE_WINDOWS, SEEN_EVENTS
from streams.engine.identities.seen_events import SeenEvents
from streams.engine.state.log_time import Expiry, LogTime, log_times
from streams.engine.state.table import Table, TableSpec
from streams.engine.windows.fingerprint import Fingerprints
from streams.engine.windows.minutes.known_series import SeriesQuota
from streams.engine.windows.minutes.minute_windows import MINUTE_MS, MinuteWindows, WindowPolicy
from streams.engine.windows.minutes.names import SeriesNames, split
from streams.operate.rebuild.homes import Homes
from streams.operate.rebuild.incarnations import Incarnations

_NO_BOUND: Final = 1 << 40
"""no quota: a record over quota has a dead letter"""
_PIECES: Final = 1 << 40
"""above every number of `Places`"""
_ENCODE_RECORDS: Final = 200_000
"""between two calls of `delta`, which lets tables forget and compress"""

T = TypeVar("T", bound=Table)


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowRange:
    """Windows that start in [``first_minute``, ``end_minute``), minutes since 1970. ``tenant`` None:
    of all."""

    first_minute: int
    end_minute: int
    tenant: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochLog:
    """Offsets [``first``, ``stop``) of one epoch. ``shed`` offsets were not read, ``dead`` ones have a
    dead letter. ``counted``: what the ledger counts, where ``first`` is the epoch's start."""

    tp: TopicPartition
    epoch: int
    first: int
    stop: int
    shed: Sequence[range]
    dead: AbstractSet[int]
    counted: Counter[str] | None
    secret: bytes
    """of the partition's fingerprints"""


@dataclass(frozen=True, slots=True)
class FoldedPiece:
    """The rows of some pieces, at most one of a window, with the series key of each. Their shard and
    ``moved`` mean nothing."""

    keys: NDArray[np.int64]
    rows: WindowRows


class RangeWindows:
    """The table that the agent folds into, in the place of `MinuteWindows`."""

    def __init__(
        self, names: SeriesNames, chosen: WindowRange, known: Incarnations, log: EpochLog,
        homes: Homes, max_live: int,
    ) -> None:  # fmt: skip
        self.names = names
        self._range = chosen
        self._known = known
        self._log = log
        self._homes = homes
        self._max_live = max_live
        self._pieces: dict[int, MinuteWindows] = {}
        self._folded = 0
        self._deltas = 0

    def admit(
        self, tenants: Texts, models: Texts, metrics: Texts, append_ms: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], None]:
        if self.names.room() < len(tenants):
            raise _too_large(self._log.tp, "the names of its series")
        return self.names.keys(tenants, models, metrics), None

    def fold(
        self, keys: NDArray[np.int64], ts_ms: NDArray[np.int64], values: NDArray[np.float64],
        offsets: NDArray[np.int64], append_ms: NDArray[np.int64],
    ) -> None:  # fmt: skip
        minutes = ts_ms // MINUTE_MS
        inside = (minutes >= self._range.first_minute) & (minutes < self._range.end_minute)
        if self._range.tenant is not None:
            inside &= split(keys)[0] == self.names.tenants.code.get(self._range.tenant, -1)
        rows = np.flatnonzero(inside)
        pieces = self._pieces_of(keys[rows], minutes[rows], offsets[rows])
        for piece in np.unique(pieces).tolist():
            its = rows[pieces == piece]
            self._piece(piece).fold(
                keys[its], ts_ms[its], values[its], offsets[its], append_ms[its]
            )
        self._folded += len(pieces)
        if sum(map(len, self._pieces.values())) > self._max_live:
            raise _too_large(self._log.tp, "its windows")
        if self._folded > _ENCODE_RECORDS:
            self._encode()

    def pieces(self) -> list[FoldedPiece]:
        self._encode()
        return [
            FoldedPiece(keys, rows)
            for _, table in sorted(self._pieces.items())
            for keys, rows in table.snapshot()
        ]

    def _pieces_of(
        self, keys: NDArray[np.int64], minutes: NDArray[np.int64], offsets: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """A number for the piece of each record. Records that no row holds are cut where the partition took
        a move of their day."""
        number, _ = self._known.place(keys, minutes, offsets)
        inc = (offsets + version_of(self._log.epoch, 1)).astype(np.uint64)
        open_ = number % 2
        return number + _PIECES * open_ * self._homes.times(minutes, inc)

    def _piece(self, number: int) -> MinuteWindows:
        table = self._pieces.get(number)
        if table is None:
            policy = WindowPolicy(max_live=_NO_BOUND, series=SeriesQuota(_NO_BOUND))
            table = MinuteWindows(self._log.tp.partition, self._log.epoch, 1, _no_shard, policy)
            table.names = self.names
            self._pieces[number] = table
        return table

    def _encode(self) -> None:
        self._folded, self._deltas = 0, self._deltas + 1
        for table in self._pieces.values():
            table.delta(self._deltas)


@dataclass(slots=True)
class _Fold:
    """Also the `Scope` of the agent."""

    agent: AgentSpec
    log: EpochLog
    settings: Settings
    windows: RangeWindows
    seen: SeenEvents
    fingerprints: Fingerprints = field(init=False)
    counts: Counter[str] = field(default_factory=Counter)
    _time: LogTime = field(default_factory=LogTime)
    _dead: NDArray[np.int64] = field(init=False)
    _scanner: Scanner | None = field(init=False)
    _limits: Limits = field(init=False)
    _batch: RecordBatch | None = None
    _remembered: int = 0
    _deltas: int = 0

    def __post_init__(self) -> None:
        self.fingerprints = Fingerprints(self.log.secret)
        self._dead = np.array(sorted(self.log.dead), np.int64)
        self._scanner = Scanner.of(self.agent.source) if self.agent.columns else None
        self._limits = Limits(self.settings.future_max_s, self.settings.late_max_s)

    @property
    def tp(self) -> TopicPartition:
        return self.log.tp

    def over(self, batch: RecordBatch) -> None:
        """Fold the records of ``batch``, which `EpochLog` holds."""
        self._batch = batch
        expiry = Expiry.of(self.settings.dedupe_ttl_s * 1000)
        times, self._time = log_times(self._time, timestamp_array(batch), expiry)
        buried = np.isin(offset_array(batch), self._dead)
        decoded = self._decode(batch)
        for bad in decoded.bad:
            if not buried[bad.position]:
                self._unexplained(batch.offsets[bad.position], bad.code)
        events = EventBatch(
            batch, decoded.events, decoded.positions, decoded.event_ms, decoded.append_ms, times,
            decoded.fields,
        )  # fmt: skip
        if buried.any() and len(events):
            good = slice(None) if decoded.positions is None else np.array(decoded.positions)
            events = events.keep(~buried[good])
        self.counts["dead"] += int(buried.sum())
        if len(events):
            self.agent.process(events, cast(Any, self))
        self._remembered += len(batch)
        if self._remembered > _ENCODE_RECORDS:
            self._remembered, self._deltas = 0, self._deltas + 1
            self.seen.delta(self._deltas)

    def _decode(self, batch: RecordBatch) -> Decoded:
        if self._scanner is not None:
            return self._scanner.decode(batch, self._limits)
        return decode(self.agent.source, batch, self._limits)

    def _unexplained(self, offset: int, code: str) -> NoReturn:
        raise RebuildRefused(
            f"{self.tp} offset {offset} is refused with {code} when it is folded again, and has no "
            "dead letter: this version, or its settings, judges it in another way than the one that "
            "counted it. Rows of this partition were not changed. Run the version and the settings "
            "of that time."
        )

    # --- Scope -------------------------------------------------------------------------------

    def table(self, spec: TableSpec[T]) -> T:
        tables: dict[str, object] = {
            MINUTE_WINDOWS.name: self.windows,
            SEEN_EVENTS.name: self.seen,
        }
        return cast(T, tables[spec.name])

    def dead_letter(self, row: int, code: str, message: str, tenant: str = "") -> None:
        assert self._batch is not None, "the agent refuses records of the batch being folded"
        self._unexplained(self._batch.offsets[row], code)

    def count(self, *, applied: int = 0, duplicates: int = 0) -> None:
        self.counts["applied"] += applied
        self.counts["duplicates"] += duplicates


async def refold(
    reader: LogReader,
    agent: AgentSpec,
    log: EpochLog,
    settings: Settings,
    windows: RangeWindows,
    files: Files,
    passed: Callable[[int], Awaitable[None]],
) -> list[FoldedPiece]:
    """Read ``log`` and return what its records make of the windows in range. ``passed`` is awaited
    with the number of records of each batch.

    Raises `RebuildRefused` where the log folded again does not give the ledger's counts, or loses
    records meanwhile, and errors of the reader.
    """
    ttl_ms = settings.dedupe_ttl_s * 1000
    seen = SeenEvents(ttl_ms, files, log.epoch, _NO_BOUND, settings.hot_ids)
    fold = _Fold(agent, log, settings, windows, seen)
    try:
        async for batch in _records(reader, log):
            if len(batch):
                fold.over(batch)
            await passed(len(batch))
    except OffsetOutOfRange as error:
        raise RebuildRefused(
            f"{error}: retention removed it while it was read. Rows of this partition were not "
            "changed. Run `dia rebuild` again: it begins where the log begins then."
        ) from error
    if log.counted is not None:
        _compare(log, fold.counts)
    return windows.pieces()


async def _records(reader: LogReader, log: EpochLog) -> AsyncIterator[RecordBatch]:
    for first, stop in _read_ranges(log):
        async for batch in read_range(reader, log.tp, first, stop):
            rows = [row for row, offset in enumerate(batch.offsets) if first <= offset < stop]
            yield batch if len(rows) == len(batch) else batch.take(rows)


def _read_ranges(log: EpochLog) -> list[tuple[int, int]]:
    """What lies between the shed ranges."""
    ranges, first = [], log.first
    for skipped in sorted(log.shed, key=lambda one: one.start):
        if skipped.start > first:
            ranges.append((first, min(skipped.start, log.stop)))
        first = max(first, skipped.stop)
    if first < log.stop:
        ranges.append((first, log.stop))
    return [(low, high) for low, high in ranges if low < high]


def _compare(log: EpochLog, counts: Counter[str]) -> None:
    assert log.counted is not None
    for name in ("applied", "duplicates", "dead"):
        if counts[name] != log.counted[name]:
            raise RebuildRefused(
                f"{log.tp}, epoch {log.epoch}: folded again, the log gives {counts[name]} {name}, "
                f"the ledger says {log.counted[name]}. Rows of this partition were not changed. "
                "`dia audit --deep` names the difference."
            )


def _no_shard(tenants: Sequence[str], *_: Sequence[str]) -> NDArray[np.int32]:
    return np.zeros(len(tenants), np.int32)


def _too_large(tp: TopicPartition, what: str) -> RebuildRefused:
    return RebuildRefused(
        f"{what} of {tp} in the range exceed DIA_MAX_LIVE_WINDOWS or the names of a partition: "
        "rebuild fewer hours at once (--from, --to), or one tenant (--tenant)."
    )
