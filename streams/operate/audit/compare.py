"""The checks of the audit; pure functions of the snapshot.

ledger      read = applied + duplicates + dead + shed; its epochs follow one another
offsets     the committed offset and epoch are the ledger's
rows        sum(n) of the window rows = applied, per partition and epoch
shed        the ledger's count = the offsets of the orders that were carried out
dead        the ledger's counts by code = the records in the DLQ; rows and DLQ hold the same ids
roll-ups    every hour and day is the sum of its minutes
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from streams.operate.audit.finding import AuditFinding, FindingPlace, shortened, span
from streams.operate.audit.snapshot import AuditSnapshot, LedgerRow, PartitionSnapshot


def compare(books: AuditSnapshot) -> list[AuditFinding]:
    """Every difference. For moving partitions only the checks within one ledger row apply."""
    moving = books.moving
    findings = [f for p in books.partitions for row in p.ledger for f in _adds_up(books, row)]
    at_rest = [p for p in books.partitions if p.partition not in moving]
    for partition in at_rest:
        findings += _offsets(books, partition)
        findings += _shed(books, partition)
    findings += [f for f in _rows(books) if f.place.partition not in moving]
    findings += _dead_counts(books, at_rest)
    findings += shortened(f for f in _dead_ids(books) if f.place.partition not in moving)
    findings += shortened(_stale(books))
    return findings


def _adds_up(books: AuditSnapshot, row: LedgerRow) -> Iterator[AuditFinding]:
    accounted = row.applied + row.duplicates + row.dead + row.shed
    where = _where(books, row)
    if row.read != accounted:
        yield AuditFinding(
            place=where,
            check="ledger: read = applied + duplicates + dead + shed",
            expected=str(row.read),
            found=str(accounted),
            meaning="records were read but not counted",
        )
    if row.dead != sum(row.dead_by_code.values()):
        yield AuditFinding(
            place=where,
            check="ledger: dead = sum of dead_by_code",
            expected=str(row.dead),
            found=str(sum(row.dead_by_code.values())),
            meaning="dead letters are counted without a code",
        )
    if row.start_offset < 0:
        yield AuditFinding(
            place=where,
            check="ledger: next_offset - start = read + gaps",
            expected=str(row.next_offset),
            found=str(row.read + row.gaps),
            meaning="more offsets were passed than the log has: some were folded twice",
        )


def _offsets(books: AuditSnapshot, partition: PartitionSnapshot) -> Iterator[AuditFinding]:
    place = FindingPlace(books.topic, partition.partition)
    committed = partition.committed_offset
    latest = partition.ledger[-1] if partition.ledger else None
    if latest is None:
        if committed is not None and committed > partition.begin_offset:
            yield AuditFinding(
                place=replace(place, offsets=span(partition.begin_offset, committed - 1)),
                check="committed offset = ledger",
                expected=str(committed),
                found="no ledger row",
                meaning="the ledger row of this partition is missing from ClickHouse",
            )
        return
    if committed is not None and committed != latest.next_offset:
        low, high = sorted((committed, latest.next_offset))
        yield AuditFinding(
            place=replace(place, offsets=span(low, high - 1)),
            check="committed offset = ledger",
            expected=str(committed),
            found=str(latest.next_offset),
            meaning="the ledger row is not the last commit's: ClickHouse is behind, or the "
            "group's offset was moved by hand",
        )
    epoch = partition.committed_epoch
    if epoch is not None and epoch != latest.epoch:
        yield AuditFinding(
            place=place,
            check="committed epoch = ledger",
            expected=str(epoch),
            found=str(latest.epoch),
            meaning="the last reset of this partition is not in the ledger",
        )


def _shed(books: AuditSnapshot, partition: PartitionSnapshot) -> Iterator[AuditFinding]:
    for row in partition.ledger:
        ranges = [one for one in partition.shed if one.epoch == row.epoch]
        listed = sum(one.until - one.first for one in ranges)
        if listed != row.shed:
            yield AuditFinding(
                place=_where(books, row),
                check="ledger's shed = shed_ranges",
                expected=str(row.shed),
                found=str(listed),
                meaning="offsets were skipped without a recorded order"
                if listed < row.shed
                else "an order is recorded for offsets that were not skipped",
            )


def _rows(books: AuditSnapshot) -> Iterator[AuditFinding]:
    if books.rows is None or (books.expired_events and books.moving):
        return
    applied = {(r.partition, r.epoch): r for p in books.partitions for r in p.ledger}
    if books.expired_events:
        yield from _total(books, sum(row.applied for row in applied.values()))
        return
    for key in sorted(applied.keys() | books.rows.keys()):
        row, found = applied.get(key), books.rows.get(key, 0)
        expected = row.applied if row is not None else 0
        if expected == found:
            continue
        where = _where(books, row) if row is not None else FindingPlace(books.topic, key[0])
        yield AuditFinding(
            place=where,
            check="applied = events in window rows",
            expected=str(expected),
            found=str(found),
            meaning=f"{_gap(expected, found)} in epoch {key[1]}; --deep names the windows",
        )


def _total(books: AuditSnapshot, applied: int) -> Iterator[AuditFinding]:
    """Day rows have no partition, so expired minutes are compared over all partitions."""
    assert books.rows is not None
    found = sum(books.rows.values()) + books.expired_events
    if found != applied:
        yield AuditFinding(
            place=FindingPlace(books.topic),
            check="applied = events in window rows",
            expected=str(applied),
            found=str(found),
            meaning=f"{_gap(applied, found)}, over all partitions",
        )


def _gap(expected: int, found: int) -> str:
    return f"{expected - found} events lost" if found < expected else f"{found - expected} too many"


def _dead_counts(
    books: AuditSnapshot, at_rest: Sequence[PartitionSnapshot]
) -> Iterator[AuditFinding]:
    for partition in at_rest:
        number = partition.partition
        ledger: Counter[str] = Counter()
        for row in partition.ledger:
            ledger.update(row.dead_by_code)
        dlq = {code: n for (p, code), n in books.dead.records.items() if p == number}
        for code in sorted({*ledger, *dlq}):
            expected, found = ledger[code], dlq.get(code, 0)
            trimmed = number in books.dead.trimmed and found < expected
            if expected != found and not trimmed:
                yield AuditFinding(
                    place=FindingPlace(books.topic, number),
                    check="ledger's dead letters = records in the DLQ",
                    expected=f"{expected} {code}",
                    found=f"{found} {code}",
                    meaning="a dead letter is missing from the DLQ"
                    if found < expected
                    else "a record was dead-lettered twice, or by something else",
                )


def _dead_ids(books: AuditSnapshot) -> Iterator[AuditFinding]:
    dlq, rows = books.dead.in_dlq, books.dead.in_rows
    for name in sorted(dlq.keys() - rows.keys()):
        yield _dead_id(name, dlq[name], "no row", "the dead letter has no row in ClickHouse")
    for name in sorted(rows.keys() - dlq.keys()):
        topic, partition, _ = [*name.split("/"), "0", ""][:3]
        if partition.isdecimal() and int(partition) in books.dead.trimmed:
            continue
        yield _dead_id(name, "not in the DLQ", rows[name], f"nothing in {topic}.dlq has this id")


def _dead_id(name: str, expected: str, found: str, meaning: str) -> AuditFinding:
    topic, partition, offset = [*name.split("/"), "", ""][:3]
    return AuditFinding(
        place=FindingPlace(topic, int(partition) if partition.isdecimal() else None, offset),
        check="DLQ = dead_letters rows",
        expected=expected,
        found=found,
        meaning=meaning,
    )


def _stale(books: AuditSnapshot) -> Iterator[AuditFinding]:
    for stale in books.stale:
        yield AuditFinding(
            place=FindingPlace(books.topic, window=f"{stale.series} {stale.start}"),
            check=f"{stale.table} = sum of its minutes",
            expected=_counted(*stale.in_minutes),
            found=_counted(*stale.stored),
            meaning="the minutes changed after they were rolled up, or the roll-up is missing",
        )


def _counted(n: int, s1: float) -> str:
    return f"n={n} sum={s1!r}"


def _where(books: AuditSnapshot, row: LedgerRow) -> FindingPlace:
    start = max(0, row.start_offset)
    offsets = span(start, row.next_offset - 1) if row.next_offset > start else ""
    return FindingPlace(books.topic, row.partition, offsets)
