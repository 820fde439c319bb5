"""Compares the minute rows of one partition with its recount, one window at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from streams.core.rows.built_in_tables import epoch_of, offset_of
from streams.core.types import TopicPartition
from streams.operate.audit.finding import AuditFinding, FindingPlace, span
from streams.operate.audit.minute_recount import MinuteRecount, MinuteTally, WindowKey
from streams.operate.audit.recount import Recount
from streams.operate.audit.refused import RefusedRow
from streams.operate.audit.snapshot import LedgerRow, letter_place

SUM_TOLERANCE = 1e-9
_IN_DLQ = -1


@dataclass(slots=True)
class StoredWindow:
    """The sum of a window's rows. ``rows``: (first offset, last offset, n, shard) of each
    incarnation."""

    n: int = 0
    s1: float = 0.0
    lo: float = float("inf")
    hi: float = float("-inf")
    sketched: int = 0
    rows: list[tuple[int, int, int, int]] = field(default_factory=list)

    @property
    def last_offset(self) -> int:
        return max(last for _, last, _, _ in self.rows)


@dataclass(frozen=True, slots=True)
class WindowComparison:
    """``in_motion`` windows hold records after the ledger's last commit and are not checked."""

    findings: tuple[AuditFinding, ...]
    judged: int
    in_motion: int


def put_back(refused: Iterable[RefusedRow], stored: dict[WindowKey, StoredWindow]) -> None:
    """Add refused rows to ``stored``, as if ClickHouse had accepted them."""
    for row in refused:
        key = row.tenant, row.model, row.metric, row.w, epoch_of(row.inc)
        shown = stored.setdefault(key, StoredWindow())
        first = offset_of(row.inc)
        if any(first == known for known, *_ in shown.rows):
            continue
        shown.n += row.n
        shown.s1 += row.s1
        shown.lo, shown.hi = min(shown.lo, row.lo), max(shown.hi, row.hi)
        shown.sketched += sum(row.sk_n)
        shown.rows.append((first, offset_of(row.ver), row.n, _IN_DLQ))


def compare_windows(
    topic: str, expected: MinuteRecount, stored: Mapping[WindowKey, StoredWindow]
) -> WindowComparison:
    findings: list[AuditFinding] = []
    judged = in_motion = 0
    keys = expected.windows.keys() | {k for k in stored if _in_range(k, expected)}
    for key in sorted(keys, key=lambda key: (key[3], key)):
        tally, shown = expected.windows.get(key), stored.get(key)
        if shown is not None and shown.last_offset >= expected.next_offset:
            in_motion += 1
            continue
        judged += 1
        findings += _differences(topic, expected.partition, key, tally, shown)
    return WindowComparison(tuple(findings), judged, in_motion)


def _in_range(key: WindowKey, expected: Recount) -> bool:
    return expected.judged_from_s <= key[3] < expected.to_s and key[4] in expected.counts


def _differences(
    topic: str,
    partition: int,
    key: WindowKey,
    tally: MinuteTally | None,
    shown: StoredWindow | None,
) -> Iterator[AuditFinding]:
    for check, meaning in _judged(tally, shown):
        yield AuditFinding(
            check=check,
            place=FindingPlace(topic, partition, _offsets(tally, shown), _name(key)),
            expected=_said(tally),
            found=_said(shown),
            meaning=meaning,
        )
        return


def _judged(tally: MinuteTally | None, shown: StoredWindow | None) -> Iterator[tuple[str, str]]:
    """(check, meaning) of each difference, the most severe first."""
    if tally is None:
        assert shown is not None
        yield "window: exists", f"no record has a value in this window; it has {_rows(shown)}"
        return
    if shown is None:
        yield "window: exists", f"{tally.n} events lost: the window has no row"
        return
    if shown.n != tally.n:
        gap = shown.n - tally.n
        what = f"{gap} events too many" if gap > 0 else f"{-gap} events lost"
        yield "window: count", f"{what}; it has {_rows(shown)}"
    # Written so that NaN is a difference.
    if not abs(shown.s1 - tally.s1) <= SUM_TOLERANCE * tally.s_abs:
        yield "window: sum", f"the count is right, the sum is not; it has {_rows(shown)}"
    if (shown.lo, shown.hi) != (tally.lo, tally.hi):
        yield (
            "window: min and max",
            f"{tally.lo!r} to {tally.hi!r} became {shown.lo!r} to {shown.hi!r}",
        )
    if shown.sketched != shown.n:
        yield "window: sketch", f"the sketch holds {shown.sketched} values"


def _rows(shown: StoredWindow) -> str:
    shards = {shard for *_, shard in shown.rows if shard != _IN_DLQ}
    listed = ", ".join(f"offsets {span(a, b)} (n={n})" for a, b, n, _ in sorted(shown.rows)[:4])
    more = f" and {len(shown.rows) - 4} more" if len(shown.rows) > 4 else ""
    apart = f" on shards {sorted(shards)}" if len(shards) > 1 else ""
    return f"{len(shown.rows)} rows{apart}: {listed}{more}"


def _said(side: MinuteTally | StoredWindow | None) -> str:
    return "nothing" if side is None else f"n={side.n} sum={side.s1!r}"


def _offsets(tally: MinuteTally | None, shown: StoredWindow | None) -> str:
    if tally is not None:
        return span(tally.first_offset, tally.last_offset)
    assert shown is not None
    return span(min(first for first, *_ in shown.rows), shown.last_offset)


def _name(key: WindowKey) -> str:
    tenant, model, metric, w, _ = key
    return f"{tenant} {model} {metric} {datetime.fromtimestamp(w, UTC):%Y-%m-%dT%H:%MZ}"


def compare_counters(
    topic: str, expected: Recount, ledger: Iterable[LedgerRow]
) -> Iterator[AuditFinding]:
    """Compare the counters of epochs read from their start."""
    for row in ledger:
        if row.epoch not in expected.whole or row.epoch not in expected.counts:
            continue
        counts = expected.counts[row.epoch]
        for name, recounted, counted in (
            ("read", counts.total(), row.read),
            ("applied", counts["applied"], row.applied),
            ("duplicates", counts["duplicate"], row.duplicates),
            ("dead", counts["dead"], row.dead),
            ("shed", counts["shed"], row.shed),
        ):
            if recounted != counted:
                yield AuditFinding(
                    check=f"log recounted = ledger's {name}",
                    place=FindingPlace(topic, expected.partition),
                    expected=str(recounted),
                    found=str(counted),
                    meaning=f"in epoch {row.epoch}, from its start to the ledger's offset",
                )


def compare_dead(
    topic: str, expected: Recount, in_dlq: Iterable[str], *, whole: bool = True
) -> Iterator[AuditFinding]:
    """Not ``whole``: the DLQ may have lost some."""
    tp = TopicPartition(topic, expected.partition)
    found = {place for name in in_dlq if (place := letter_place(name, tp)) is not None}
    for epoch, (first, stop) in expected.certain.items():
        wanted = {offset for offset in expected.dead if first <= offset < stop}
        there = {one.offset for one in found if one.epoch == epoch and first <= one.offset < stop}
        for offset in sorted(wanted ^ there):
            lost = offset in wanted
            if lost and not whole:
                continue
            yield AuditFinding(
                check="log recounted = DLQ",
                place=FindingPlace(topic, expected.partition, str(offset)),
                expected="a dead letter" if lost else "no dead letter",
                found="none" if lost else "one",
                meaning="a bad record left no dead letter" if lost else "a good record was refused",
            )
