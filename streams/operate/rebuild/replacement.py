"""Which stored rows differ from the log, and the rows that replace them.

Each replacement has the key of the row that it replaces and a higher ``ver``, or a key of its own:
the incarnation that begins with the first record that no row holds. The rows of a window hold
different records, and all that change are in one insert. So a reader counts each record once before
an insert and once after it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from streams.connect.sinks.rollup import WIDTH_S
from streams.core.rows.built_in_tables import (
    OFFSET_BITS,
    WindowRows,
    epoch_of,
    offsets_of,
    rebuilt_version,
    version_of,
)
from streams.engine.windows.minutes.names import SeriesNames, joined, split
from streams.operate.audit.refused import RefusedRow
from streams.operate.rebuild.homes import Homes
from streams.operate.rebuild.incarnations import ENDLESS, Incarnations
from streams.operate.rebuild.refold import EpochLog, FoldedPiece
from streams.operate.rebuild.standing import PartitionStanding
from streams.operate.rebuild.stored_rows import StaleBucket, StoredRows

_NOT_STORED: Final = -1
_LIVE: Final = -2
_TOLERANCE: Final = 1e-9
_TINY: Final = 1e-12
_DAY_S: Final = WIDTH_S["d1"]
_COLUMNS: Final = ("w", "inc", "n", "s1", "s2", "mean", "m2", "lo", "hi", "lv", "lt", "ver")
_EMPTY: Final = {"lo": np.inf, "hi": -np.inf}


@dataclass(slots=True)
class KnownRows:
    """The incarnations of one partition and epoch that are stored, refused or live.

    ``stored[i]`` is the place of known row i in the stored rows, `_NOT_STORED` for a refused row,
    `_LIVE` for a live one."""

    incarnations: Incarnations
    stored: NDArray[np.int64]


def known_rows(
    names: SeriesNames,
    log: EpochLog,
    standing: PartitionStanding,
    rows: StoredRows,
    refused: Iterable[RefusedRow],
) -> KnownRows:
    """Stored rows of other epochs, of live incarnations, and of records behind the log's end are
    left out: they are not the rebuild's."""
    live = _Live.of(names, standing)
    inc = rows.inc
    ours = (inc >> np.uint64(OFFSET_BITS)).astype(np.int64) == log.epoch
    ours &= offsets_of(inc) < log.stop
    at = live.without(names, rows, np.flatnonzero(ours))
    parts = [_part(names, rows.tenants, rows.models, rows.metrics, rows.w, inc, rows.ver, at)]
    places = [at]
    if log.epoch == standing.link.epoch:
        endless = np.full(len(live.inc), ENDLESS)
        parts.append((live.keys, live.minutes, offsets_of(live.inc), endless))
        places.append(np.full(len(live.inc), _LIVE))
    held = set(inc.tolist()) | set(live.inc.tolist())
    for row in refused:
        if epoch_of(row.inc) == log.epoch and row.inc not in held:
            its = (
                np.array([row.inc], np.uint64),
                np.array([row.ver], np.uint64),
                np.zeros(1, np.int64),
            )
            w = np.array([row.w])
            parts.append(_part(names, [row.tenant], [row.model], [row.metric], w, *its))
            places.append(np.array([_NOT_STORED]))
    keys, minutes, first, last = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    incarnations = Incarnations(keys, minutes, first, last)
    return KnownRows(incarnations, np.concatenate(places)[incarnations.order])


@dataclass(frozen=True, slots=True)
class _Live:
    """The live incarnations of a partition: parallel columns, sorted by ``inc``."""

    keys: NDArray[np.int64]
    minutes: NDArray[np.int64]
    inc: NDArray[np.uint64]

    @classmethod
    def of(cls, names: SeriesNames, standing: PartitionStanding) -> Self:
        keys = [
            names.keys(
                _named(part.tenants, part.tenant_code),
                _named(part.models, part.model_code),
                _named(part.metrics, part.metric_code),
            )
            for part in standing.live
        ]
        minutes = [part.w.astype(np.int64) // 60 for part in standing.live]
        none = np.zeros(0, np.int64)
        inc = standing.live_incarnations
        order = np.argsort(inc)
        return cls(
            np.concatenate([none, *keys])[order],
            np.concatenate([none, *minutes])[order],
            inc[order],
        )

    def without(
        self, names: SeriesNames, rows: StoredRows, at: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Those of the rows ``at`` that are not theirs. A row that a bug wrote may have the ``inc`` of
        another window."""
        shared = np.isin(rows.inc[at], self.inc)
        its = at[shared]
        place = np.searchsorted(self.inc, rows.inc[its])
        same = _keys(names, rows.tenants, rows.models, rows.metrics, its) == self.keys[place]
        same &= rows.w[its] // 60 == self.minutes[place]
        return np.sort(np.r_[at[~shared], its[~same]])


def _part(
    names: SeriesNames,
    tenants: Sequence[str],
    models: Sequence[str],
    metrics: Sequence[str],
    w: NDArray[Any],
    inc: NDArray[np.uint64],
    ver: NDArray[np.uint64],
    at: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Series key, minute, first and last offset of the rows ``at``."""
    keys = _keys(names, tenants, models, metrics, at)
    minutes = w[at].astype(np.int64) // 60
    return keys, minutes, offsets_of(inc[at]), offsets_of(ver[at])


def _named(names: Sequence[str], codes: NDArray[Any]) -> list[str]:
    chosen: list[int] = codes.tolist()
    return [names[code] for code in chosen]


def _keys(
    names: SeriesNames,
    tenants: Sequence[str],
    models: Sequence[str],
    metrics: Sequence[str],
    at: NDArray[np.int64],
) -> NDArray[np.int64]:
    chosen: list[int] = at.tolist()
    return names.keys(
        [tenants[i] for i in chosen], [models[i] for i in chosen], [metrics[i] for i in chosen]
    )


@dataclass(slots=True)
class Replacement:
    """Rows to write, of one partition and epoch."""

    part: int
    names: SeriesNames
    right: int = 0
    """stored rows that are as the log says"""
    changed: int = 0
    lost: int = 0
    """rows that no shard had"""
    emptied: int = 0
    """rows of which the log has no record"""
    touched: int = 0
    """right rows that are written again, so that their hour or day is recomputed"""
    columns: dict[str, NDArray[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.changed + self.lost + self.emptied + self.touched

    def batches(self, rows_max: int) -> Iterator[WindowRows]:
        """Inserts of one shard, ``moved`` and UTC day each, with at most ``rows_max`` rows, or those of
        one window."""
        c = self.columns
        if not c:
            return
        day = c["w"].astype(np.int64) // _DAY_S
        order = np.lexsort((c["key"], c["w"], day, c["moved"], c["shard"]))
        columns = [c["shard"], c["moved"], day, c["w"].astype(np.int64), c["key"]]
        window = np.stack(columns, axis=1)[order]
        starts = np.flatnonzero(np.r_[True, (window[1:] != window[:-1]).any(axis=1)])
        fence = window[:, :3]
        begin = 0
        for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(order)], strict=True):
            if start > begin and (end - begin > rows_max or (fence[start] != fence[begin]).any()):
                yield self._rows(order[begin:start])
                begin = start
        yield self._rows(order[begin:])

    def _rows(self, at: NDArray[np.int64]) -> WindowRows:
        c = self.columns
        sizes = c["size"][at]
        bounds = np.r_[0, np.cumsum(sizes)]
        codes = np.repeat(c["begin"][at] - bounds[:-1], sizes) + np.arange(int(bounds[-1]))
        columns: dict[str, Any] = {name: c[name][at] for name in _COLUMNS}
        columns |= self.names.local(c["key"][at])._asdict()
        return WindowRows(
            table="m1",
            shard=int(c["shard"][at[0]]),
            part=self.part,
            sk_off=bounds.astype(np.int32),
            sk_k=c["sk_k"][codes],
            sk_n=c["sk_n"][codes],
            moved=int(c["moved"][at[0]]),
            **columns,
        )


def replacement(
    names: SeriesNames,
    log: EpochLog,
    known: KnownRows,
    stored: StoredRows,
    pieces: Sequence[FoldedPiece],
    stale: Iterable[StaleBucket],
    homes: Homes,
    generation: int,
) -> Replacement:
    """What has to be written so that the stored rows are those of ``pieces``."""
    result = Replacement(log.tp.partition, names)
    folded = _gathered(pieces)
    place = known.incarnations.place(
        folded["key"], folded["w"].astype(np.int64) // 60, offsets_of(folded["inc"])
    )
    covered = place.number % 2 == 0
    stands_for = np.full(len(covered), _NOT_STORED)
    stands_for[covered] = known.stored[place.row[covered]]
    foreign = covered & (stands_for == _LIVE)
    there = stands_for >= 0
    wrong = np.zeros(len(covered), np.bool_)
    wrong[there] = _differs(folded, np.flatnonzero(there), stored, stands_for[there])
    known_inc = version_of(log.epoch, 0) + known.incarnations.first + 1
    folded["inc"][covered] = known_inc[place.row[covered]].astype(np.uint64)
    for name in ("shard", "moved"):
        folded[name][there] = getattr(stored, name)[stands_for[there]]
    lost = ~there & ~foreign
    _bring_home(names, folded, np.flatnonzero(lost), homes)
    right = there & ~wrong
    touched = _touched(names, folded, right, wrong | lost, stale)
    written = np.flatnonzero(wrong | lost | touched)
    matched = np.zeros(len(stored), np.bool_)
    matched[stands_for[there]] = True
    ours = known.stored[known.stored >= 0]
    excess = ours[~matched[ours] & (stored.n[ours] > 0)]
    result.right = int((right & ~touched).sum())
    result.changed, result.lost = int(wrong.sum()), int(lost.sum())
    result.emptied, result.touched = len(excess), int(touched.sum())
    if len(result):
        rows = {
            name: folded[name][written]
            for name in (*_COLUMNS, "key", "shard", "moved", "begin", "size")
        }
        empty = _empty(names, stored, excess)
        c = {name: np.concatenate([rows[name], empty[name]]) for name in rows}
        c["ver"] = np.array(
            [rebuilt_version(generation, int(ver)) for ver in c["ver"].tolist()], np.uint64
        )
        result.columns = {**c, "sk_k": folded["sk_k"], "sk_n": folded["sk_n"]}
    return result


def _bring_home(
    names: SeriesNames, folded: dict[str, NDArray[Any]], at: NDArray[np.int64], homes: Homes
) -> None:
    """Give the rows ``at`` the shard and ``moved`` that they had."""
    if not len(at):
        return
    codes = split(folded["key"][at])
    tenants, models, metrics = (
        _named(its.names, code)
        for its, code in zip((names.tenants, names.models, names.metrics), codes, strict=True)
    )
    home = homes.of((tenants, models, metrics), folded["w"][at].astype(np.int64), folded["inc"][at])
    folded["shard"][at], folded["moved"][at] = home


def _gathered(pieces: Sequence[FoldedPiece]) -> dict[str, NDArray[Any]]:
    """The columns of all pieces, with ``key``, room for ``shard`` and ``moved``, and where the sketch of each
    row begins in ``sk_k`` and how many codes it has."""
    rows = [piece.rows for piece in pieces]
    shifts = np.cumsum([0, *(len(one.sk_k) for one in rows)])
    columns: dict[str, list[NDArray[Any]]] = {
        name: [getattr(one, name) for one in rows] for name in (*_COLUMNS, "sk_k", "sk_n")
    }
    columns["key"] = [piece.keys for piece in pieces]
    for name in ("shard", "moved"):
        columns[name] = [np.zeros(len(one), np.int64) for one in rows]
    columns["begin"] = [
        one.sk_off[:-1].astype(np.int64) + shift for one, shift in zip(rows, shifts, strict=False)
    ]
    columns["size"] = [np.diff(one.sk_off).astype(np.int64) for one in rows]
    return {name: np.concatenate([_NONE[name], *parts]) for name, parts in columns.items()}


_NONE: Final[dict[str, NDArray[Any]]] = {
    **{name: np.zeros(0, np.float64) for name in ("s1", "s2", "mean", "m2", "lo", "hi", "lv")},
    **{name: np.zeros(0, np.uint64) for name in ("inc", "n", "ver")},
    **{name: np.zeros(0, np.int64) for name in ("lt", "key", "shard", "moved", "begin", "size")},
    "w": np.zeros(0, np.uint32),
    "sk_k": np.zeros(0, np.int16),
    "sk_n": np.zeros(0, np.uint32),
}


def _differs(
    folded: dict[str, NDArray[Any]],
    rows: NDArray[np.int64],
    stored: StoredRows,
    at: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Whether the folded row differs from the stored one beyond the rounding of sums."""
    f = {name: folded[name][rows] for name in (*_COLUMNS, "begin", "size")}
    large = np.maximum(np.abs(f["lo"]), np.abs(f["hi"]))
    n = f["n"].astype(np.float64)
    weights = np.r_[0, np.cumsum(folded["sk_k"].astype(np.int64) * folded["sk_n"])]
    counts = np.r_[0, np.cumsum(folded["sk_n"].astype(np.int64))]
    end = f["begin"] + f["size"]
    same = f["n"].astype(np.int64) == stored.n[at]
    same &= offsets_of(f["ver"]) == offsets_of(stored.ver[at])
    same &= np.abs(f["s1"] - stored.s1[at]) <= _TOLERANCE * n * large
    same &= np.abs(f["mean"] - stored.mean[at]) <= _TOLERANCE * large
    same &= np.abs(f["m2"] - stored.m2[at]) <= _TOLERANCE * f["m2"] + _TINY * n * large * large
    for name in ("lo", "hi", "lv", "lt"):
        same &= f[name] == getattr(stored, name)[at]
    same &= f["size"] == stored.codes[at]
    same &= weights[end] - weights[f["begin"]] == stored.weight[at]
    same &= counts[end] - counts[f["begin"]] == stored.sketched[at]
    differs: NDArray[np.bool_] = ~same
    return differs


def _touched(
    names: SeriesNames,
    folded: dict[str, NDArray[Any]],
    right: NDArray[np.bool_],
    written: NDArray[np.bool_],
    stale: Iterable[StaleBucket],
) -> NDArray[np.bool_]:
    """One right row of each stale hour and day of which no row is written: a higher generation
    makes their recomputed row win."""
    chosen = np.zeros(len(right), np.bool_)
    places: defaultdict[tuple[int, int, int], list[tuple[int, int]]] = defaultdict(list)
    for bucket in stale:
        dictionaries = (names.tenants, names.models, names.metrics)
        codes = [one.code.get(name) for one, name in zip(dictionaries, bucket[:3], strict=True)]
        if None not in codes:
            tenant, model, metric = (np.array([code], np.int64) for code in codes)
            key = int(joined(tenant, model, metric)[0])
            its = WIDTH_S[bucket.table], bucket.shard, bucket.moved
            places[its].append((key, bucket.start_s))
    for (width_s, shard, moved), found in sorted(places.items()):
        keys, starts = (np.array(column, np.int64) for column in zip(*found, strict=True))
        series = np.unique(keys)
        wanted = _bucket(series, keys, starts, width_s)
        its_rows = (folded["shard"] == shard) & (folded["moved"] == moved)
        buckets = _bucket(series, folded["key"], folded["w"].astype(np.int64), width_s)
        done = buckets[its_rows & (written | chosen)]
        open_ = np.flatnonzero(
            its_rows & right & np.isin(buckets, wanted) & ~np.isin(buckets, done)
        )
        _, first = np.unique(buckets[open_], return_index=True)
        chosen[open_[first]] = True
    return chosen


def _bucket(
    series: NDArray[np.int64], keys: NDArray[np.int64], w: NDArray[np.int64], width_s: int
) -> NDArray[np.int64]:
    """A number for each hour or day of a series; -1 for another series."""
    at = np.minimum(np.searchsorted(series, keys), len(series) - 1)
    found: NDArray[np.int64] = np.where(series[at] == keys, at << 32 | w // width_s, -1)
    return found


def _empty(
    names: SeriesNames, stored: StoredRows, at: NDArray[np.int64]
) -> dict[str, NDArray[Any]]:
    """Rows without a value, for the keys of the stored rows ``at``."""
    columns = {
        name: np.full(len(at), _EMPTY.get(name, 0), kind.dtype) for name, kind in _NONE.items()
    }
    columns["key"] = _keys(names, stored.tenants, stored.models, stored.metrics, at)
    columns["w"] = stored.w[at].astype(np.uint32)
    columns["inc"], columns["ver"] = stored.inc[at], stored.ver[at]
    columns["shard"], columns["moved"] = stored.shard[at], stored.moved[at]
    return columns
