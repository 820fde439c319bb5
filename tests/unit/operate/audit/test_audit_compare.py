"""Comparison of the audit's sources: each rule of the ledger is broken once."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from streams.operate.audit.compare import compare
from streams.operate.audit.refused import RefusedRows
from streams.operate.audit.snapshot import (
    AuditSnapshot,
    DeadLetterCounts,
    LedgerRow,
    PartitionSnapshot,
    ShedRange,
    StaleRollUp,
)

LEDGER = LedgerRow(
    partition=0,
    epoch=0,
    next_offset=110,
    read=100,
    applied=90,
    duplicates=8,
    dead=2,
    gaps=10,
    dead_by_code={"invalid_json": 2},
)


def books(**changes: Any) -> AuditSnapshot:
    """A partition whose sources agree, except for ``changes`` of the ledger row, the partition or
    the snapshot.
    """
    row_fields, partition_fields = set(LEDGER.__slots__), set(PartitionSnapshot.__slots__)
    row = replace(LEDGER, **{k: v for k, v in changes.items() if k in row_fields})
    partition = PartitionSnapshot(
        partition=0,
        begin_offset=0,
        end_offset=110,
        committed_offset=110,
        committed_epoch=0,
        ledger=(row,),
    )
    partition = replace(
        partition,
        **{k: v for k, v in changes.items() if k in partition_fields - row_fields},
    )
    ids = {"t/0/5": "invalid_json", "t/0/7": "invalid_json"}
    dead = DeadLetterCounts(dict(ids), dict(ids), Counter({(0, "invalid_json"): 2}))
    made = AuditSnapshot(
        group="g",
        topic="t",
        partitions=(partition,),
        dead=dead,
        refused=RefusedRows(),
        rows={(0, 0): 90},
        expired_events=0,
        stale=(),
    )
    known = row_fields | partition_fields
    return replace(made, **{k: v for k, v in changes.items() if k not in known})


def test_parties_that_agree_give_no_finding():
    """The base of the other cases."""
    assert compare(books()) == []


BEHIND = StaleRollUp(table="h1", series="a b c", start="x", in_minutes=(2, 1.0), stored=(1, 1.0))
SLIPS: dict[str, tuple[dict[str, Any], str]] = {
    "lost record": ({"applied": 89, "rows": {(0, 0): 89}}, "read = applied"),
    "dead letter without a code": ({"dead_by_code": {}}, "dead = sum of dead_by_code"),
    "folded twice": ({"gaps": 11}, "next_offset - start"),
    "committed further": ({"committed_offset": 115}, "committed offset = ledger"),
    "reset without a ledger row": ({"committed_epoch": 1}, "committed epoch = ledger"),
    "ledger gone": ({"ledger": ()}, "committed offset = ledger"),
    "row lost": ({"rows": {(0, 0): 88}}, "applied = events"),
    "row of another epoch": ({"rows": {(0, 0): 90, (0, 1): 1}}, "applied = events"),
    "hour behind": (
        {"stale": (BEHIND,)},
        "h1 = sum of its minutes",
    ),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_each_broken_rule_gives_a_finding_of_its_name(slip: str):
    """One error gives one finding with the two sources that differ and their place."""
    changes, check = SLIPS[slip]
    findings = compare(books(**changes))
    assert any(check in finding.check for finding in findings)
    assert {finding.place.topic for finding in findings} == {"t"}
    assert all(finding.expected != finding.found for finding in findings)


def test_records_skipped_by_order_are_not_lost():
    """The sum includes shed records; skipped offsets without an order are a difference."""
    shed = ShedRange(
        partition=0, epoch=0, first=0, until=40, order="o", actor="ann", reason="old", at_ms=0
    )
    ordered = {"applied": 50, "rows": {(0, 0): 50}, "shed": 40}
    found = books(**ordered)
    partition = replace(found.partitions[0], shed=(shed,))
    assert compare(replace(found, partitions=(partition,))) == []
    [finding] = compare(found)
    assert (finding.check, finding.expected, finding.found) == (
        "ledger's shed = shed_ranges",
        "40",
        "0",
    )


def test_a_dead_letter_without_a_row_and_a_row_without_a_dead_letter_are_named():
    """The id lets an operator look at the record."""
    found = books()
    del found.dead.in_rows["t/0/5"]
    found.dead.in_rows["t/0/9"] = "wrong_type"
    findings = compare(found)
    assert [(f.place.offsets, f.expected, f.found) for f in findings] == [
        ("5", "invalid_json", "no row"),
        ("9", "not in the DLQ", "wrong_type"),
    ]


def test_a_dlq_without_its_old_records_is_no_difference():
    """The DLQ's retention is in bytes: records that it has deleted cannot be compared."""
    found = books()
    found.dead.records[0, "invalid_json"] = 1
    del found.dead.in_dlq["t/0/5"]
    assert compare(found) != []
    found.dead.trimmed.add(0)
    assert compare(found) == []


def test_many_findings_of_a_kind_are_counted_not_listed():
    """The first few findings show the cause; ten thousand would hide other kinds."""
    found = books()
    found.dead.in_dlq.update({f"t/0/{n}": "x" for n in range(100, 200)})
    findings = compare(found)
    assert len(findings) == 11
    assert findings[-1].meaning == "and 90 more"


def test_a_partition_that_commits_meanwhile_is_compared_only_with_itself():
    """Its offset, ledger and rows were read at different moments."""
    moved = {"committed_offset": 115, "rows": {(0, 0): 95}}
    assert compare(books(**moved)) != []
    assert compare(books(**moved, moving=frozenset({0}))) == []
    assert compare(books(applied=1, moving=frozenset({0}))) != []


def test_once_minutes_expire_events_are_compared_in_total():
    """Days are stored per series, without the partition."""
    assert compare(books(rows={(0, 0): 50}, expired_events=40)) == []
    (finding,) = compare(books(rows={(0, 0): 50}, expired_events=39))
    assert finding.place.partition is None
