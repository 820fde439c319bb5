"""Compares the rows of a restored table with what the backup's manifest says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from streams.connect.sinks.backups.stored_table import NO_ROWS, Digests, RowDigest, StoredTable
from streams.core.rows.dated_map import DAY_S
from streams.operate.backup.manifest import ManifestMap, TableRecord

_NEVER: Final = 99_999_999
"""above every bucket"""


class TableDifference(msgspec.Struct, frozen=True, kw_only=True):
    shard: int
    table: str
    bucket: str
    """a day, or a share of the keys; "": the whole table"""
    expected: str
    found: str


def recorded(form: StoredTable, before: Digests, after: Digests) -> TableRecord:
    """What a table had before and after its server made a copy of it. Rows have rising versions,
    so a bucket that is the same twice was the same between."""
    settled: dict[int, RowDigest] = {}
    moving: dict[int, tuple[RowDigest, RowDigest]] = {}
    for bucket in sorted(before.keys() | after.keys()):
        was, became = before.get(bucket, NO_ROWS), after.get(bucket, NO_ROWS)
        if was == became:
            settled[bucket] = was
        else:
            moving[bucket] = (was, became)
    return TableRecord(form=form, settled=settled, moving=moving)


def differences(
    shard: int, record: TableRecord, found: Digests, *, beside: bool = False
) -> Iterator[TableDifference]:
    """``beside``: newer rows may stand beside those of the backup."""
    for bucket in sorted(record.settled.keys() | record.moving.keys() | found.keys()):
        here = found.get(bucket, NO_ROWS)
        low, high = record.moving.get(bucket) or (record.settled.get(bucket, NO_ROWS),) * 2
        if beside:
            fits = _at_least(here, low, high)
        elif bucket in record.moving:
            fits = _between(here, low, high)
        else:
            fits = here == low
        if not fits:
            expected = _digest(low) if low == high else f"{_digest(low)} to {_digest(high)}"
            yield TableDifference(
                shard=shard,
                table=record.form.name,
                bucket=_bucket(record.form, bucket),
                expected=f"at least {expected}" if beside else expected,
                found=_digest(here),
            )


def unexpired(record: TableRecord, kept_days: int | None, now_ms: int) -> TableRecord:
    """Without what may have expired since: old days, and all of a table without a day in its key
    whose rows expire. ``kept_days`` None: for ever."""
    if kept_days is None:
        return record
    oldest = datetime.fromtimestamp(now_ms / 1000, UTC) - timedelta(days=kept_days - 1)
    first = int(oldest.strftime("%Y%m%d")) if record.form.by_day else _NEVER
    return _only(record, lambda bucket: bucket >= first)


def moved_since(then: Iterable[ManifestMap], now: Iterable[ManifestMap]) -> frozenset[int]:
    """The days, since 1970, that moves took to other shards between two backups."""
    before = {one.digest: frozenset(one.moved) for one in then}
    return frozenset(
        day for one in now for day in one.moved if day not in before.get(one.digest, ())
    )


def unmoved(record: TableRecord, days: Iterable[int]) -> TableRecord:
    """Without the rows of ``days``, since 1970, which may be on other shards since."""
    if not record.form.by_day:
        return record
    gone = {int(datetime.fromtimestamp(day * DAY_S, UTC).strftime("%Y%m%d")) for day in days}
    return _only(record, lambda bucket: bucket not in gone)


def _only(record: TableRecord, keeps: Callable[[int], bool]) -> TableRecord:
    """Of its buckets."""
    return msgspec.structs.replace(
        record,
        settled={bucket: one for bucket, one in record.settled.items() if keeps(bucket)},
        moving={bucket: two for bucket, two in record.moving.items() if keeps(bucket)},
    )


def said(found: Sequence[TableDifference]) -> str:
    """The first ones, in one line."""
    shown = [f"{one.table} {one.bucket}: {one.found} for {one.expected}" for one in found[:3]]
    more = f", and {len(found) - 3} more" if len(found) > 3 else ""
    return "; ".join(shown) + more


def form_differences(shard: int, form: StoredTable, here: StoredTable) -> Iterator[TableDifference]:
    """Why rows of ``form`` cannot be put into the table ``here``, which may have more columns."""
    compared = [("sorting key", form.sorting_key, here.sorting_key)]
    compared += [
        (f"column {name}", kind, here.columns.get(name, "none"))
        for name, kind in form.columns.items()
    ]
    for what, expected, found in compared:
        if expected != found:
            yield TableDifference(
                shard=shard,
                table=form.name,
                bucket="",
                expected=f"{what} {expected}",
                found=f"{what} {found}",
            )


def _between(here: RowDigest, before: RowDigest, after: RowDigest) -> bool:
    rows = sorted((before.rows, after.rows))
    versions = sorted((int(before.versions), int(after.versions)))
    return rows[0] <= here.rows <= rows[1] and versions[0] <= int(here.versions) <= versions[1]


def _at_least(here: RowDigest, before: RowDigest, after: RowDigest) -> bool:
    return here.rows >= min(before.rows, after.rows) and int(here.versions) >= min(
        int(before.versions), int(after.versions)
    )


def _bucket(form: StoredTable, bucket: int) -> str:
    if not form.by_day:
        return f"keys {bucket}"
    day = str(bucket)
    return f"{day[:4]}-{day[4:6]}-{day[6:]}"


def _digest(one: RowDigest) -> str:
    return f"{one.rows} rows, {one.events} events, versions {one.versions}, hash {one.hash}"
