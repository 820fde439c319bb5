"""Which parts of a partition's log a rebuild reads, and from which minute on it is certain."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from streams.connect.broker.append_times import appended_ms
from streams.core.command_errors import RebuildRefused
from streams.core.records.bad_records import TenantOverQuota
from streams.core.settings import Settings
from streams.core.types import LogReader, TopicPartition
from streams.core.words.moments import iso_s
from streams.engine.state.log_time import Expiry
from streams.operate.audit.snapshot import (
    AuditSnapshot,
    DeadLetterCounts,
    PartitionSnapshot,
    letter_place,
)
from streams.operate.rebuild.refold import EpochLog
from streams.operate.rebuild.standing import PartitionStanding

_MINUTE_S = 60


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """``from_s``: the first window that the log decides. ``notes``: what is left as it is.
    ``whole``: every epoch of the partition is folded again."""

    logs: tuple[EpochLog, ...]
    from_s: int
    notes: tuple[str, ...]
    whole: bool


@dataclass(frozen=True, slots=True)
class _Epoch:
    number: int
    start: int
    stop: int
    counted: Counter[str]
    over_quota: int
    shed: tuple[range, ...]


async def read_plan(
    reader: LogReader,
    settings: Settings,
    books: AuditSnapshot,
    standing: PartitionStanding,
    from_s: int,
    accepted: Mapping[int, int],
) -> ReadPlan:
    """``accepted``: by partition, the offset below which records may be missing.

    Raises `RebuildRefused`, and errors of the reader."""
    tp = standing.tp
    snapshot = next(one for one in books.partitions if one.partition == tp.partition)
    epochs, notes = _epochs(tp, snapshot, standing)
    whole = not notes
    begin, stop = await reader.beginning_offset(tp), standing.link.next_offset
    before_ms = _before_ms(settings)
    # Every record below it was appended before: too early to be in a window of the range, or to be
    # repeated by one, whatever the broker's clock did meanwhile.
    since = (await reader.offsets_since([tp], from_s * 1000 - before_ms))[tp]
    first = min(max(begin, epochs[0].start, since), stop)
    if begin > epochs[0].start and first == begin:
        oldest_ms = await appended_ms(reader, tp, begin, stop)
        knowable_s = stop_s(oldest_ms + before_ms) if oldest_ms is not None else from_s
        if knowable_s > from_s:
            _accept(tp, begin, knowable_s, accepted)
            notes.append(f"{tp}: windows before {iso_s(knowable_s)} are left as they are")
            from_s = knowable_s
    _require_known(tp, epochs, first)
    if epochs[0].start < first < stop:
        notes.append(
            f"{tp}: read from offset {first} on, so the ledger's counts of the whole epoch are not "
            "compared. The rows are right if DIA_DEDUPE_TTL_S, DIA_LATE_MAX_S and DIA_FUTURE_MAX_S "
            "are those of that time."
        )
    codes = books.dead.codes(tp)
    for epoch in epochs:
        if epoch.start < first < epoch.stop:
            _require_quota_letters(tp, epoch, first, books.dead)
    logs = tuple(
        EpochLog(
            tp=tp,
            epoch=epoch.number,
            first=max(epoch.start, first),
            stop=epoch.stop,
            shed=epoch.shed,
            dead=frozenset(place.offset for place in codes if place.epoch == epoch.number),
            counted=epoch.counted if first <= epoch.start else None,
            secret=standing.link.secret,
        )
        for epoch in epochs
        if first < epoch.stop
    )
    return ReadPlan(logs, from_s, tuple(notes), whole)


def _before_ms(settings: Settings) -> int:
    """A record of a window is appended at most ``future_max_s`` before its window begins, and
    repeats one of the TTL before it."""
    expiry = Expiry.of(settings.dedupe_ttl_s * 1000)
    return settings.future_max_s * 1000 + expiry.kept_ms


def stop_s(moment_ms: int) -> int:
    """The first full minute at or after ``moment_ms``, in seconds."""
    return -(-moment_ms // (_MINUTE_S * 1000)) * _MINUTE_S


def _epochs(
    tp: TopicPartition, snapshot: PartitionSnapshot, standing: PartitionStanding
) -> tuple[list[_Epoch], list[str]]:
    """The epochs of the current log, ascending: former ones from the ledger, the last one from the
    chain."""
    link, notes = standing.link, list[str]()
    found: list[_Epoch] = []
    for row in snapshot.ledger:
        if row.epoch < link.epoch:
            counted = Counter(applied=row.applied, duplicates=row.duplicates, dead=row.dead)
            shed = _shed(tp, snapshot, row.epoch, row.next_offset, row.shed)
            over = row.dead_by_code.get(TenantOverQuota.code, 0)
            found.append(_Epoch(row.epoch, row.start_offset, row.next_offset, counted, over, shed))
    counters = link.counters
    counted = Counter(
        applied=counters.applied,
        duplicates=counters.duplicates,
        dead=counters.read - counters.applied - counters.duplicates - counters.shed,
    )
    shed = _shed(tp, snapshot, link.epoch, link.next_offset, counters.shed)
    over = counters.dead_by_code.get(TenantOverQuota.code, 0)
    found.append(_Epoch(link.epoch, link.start_offset, link.next_offset, counted, over, shed))
    kept: list[_Epoch] = []
    for epoch in found:
        if kept and epoch.start < kept[-1].stop:
            notes.append(
                f"{tp}: epochs up to {kept[-1].number} counted offsets that epoch {epoch.number} "
                "counts again: their rows are left as they are"
            )
            kept.clear()
        kept.append(epoch)
    return kept, notes


def _require_quota_letters(
    tp: TopicPartition, epoch: _Epoch, first: int, dead: DeadLetterCounts
) -> None:
    """Of a part of an epoch: what tenants held when a record was refused over quota is not known, so
    without its letter the record would be counted, and again when it is replayed."""
    known = sum(
        place.epoch == epoch.number and code == TenantOverQuota.code
        for place, code in dead.codes(tp).items()
    )
    if known >= epoch.over_quota or tp.partition not in dead.trimmed:
        return
    kept = [
        place.offset
        for name in dead.in_dlq
        if (place := letter_place(name, tp)) is not None and place.epoch == epoch.number
    ]
    # Letters lie in the order of their records: older ones alone are gone.
    if tp.partition not in dead.unreadable and min(kept, default=epoch.stop) <= first:
        return
    raise RebuildRefused(
        f"{tp}, epoch {epoch.number}: {epoch.over_quota} records were refused over quota, and letters of "
        f"{known} of them are left in {tp.topic}'s dead-letter topic and in the table dead_letters. "
        f"Which ones of those from offset {first} on counted is unknown. Nothing was changed. Restore "
        "the table dead_letters first (`dia backup restore`), or begin later (--from)."
    )


def _shed(
    tp: TopicPartition, snapshot: PartitionSnapshot, epoch: int, stop: int, counted: int
) -> tuple[range, ...]:
    listed = tuple(
        range(one.first, one.until)
        for one in snapshot.shed
        if one.epoch == epoch and one.until <= stop
    )
    if sum(map(len, listed)) != counted:
        raise RebuildRefused(
            f"{tp}, epoch {epoch}: {counted} offsets were shed by order, shed_ranges lists "
            f"{sum(map(len, listed))}: which ones were not counted is unknown. If ClickHouse is "
            "behind, try again; else restore the table shed_ranges first."
        )
    return listed


def _require_known(tp: TopicPartition, epochs: Sequence[_Epoch], first: int) -> None:
    """Every epoch that has offsets from ``first`` on must be in the ledger."""
    last = epochs[-1].number
    missing = sorted(set(range(epochs[0].number, last)) - {epoch.number for epoch in epochs})
    if (epochs[0].number > 0 and first < epochs[0].start) or missing:
        raise RebuildRefused(
            f"{tp}: the ledger has no row of epochs {missing or [*range(epochs[0].number)]}: which "
            "offsets they counted is unknown. Restore the table ledger first."
        )


def _accept(tp: TopicPartition, begin: int, knowable_s: int, accepted: Mapping[int, int]) -> None:
    if accepted.get(tp.partition, -1) >= begin:
        return
    raise RebuildRefused(
        f"{tp} begins at offset {begin}: records below it are deleted, so windows before "
        f"{iso_s(knowable_s)} are not certain. Nothing was changed. Begin there (--from), or leave "
        f"those windows of this partition as they are: --accept-gap {tp.partition}:{begin}."
    )
