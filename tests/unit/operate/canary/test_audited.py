"""An audit speaks for the canary only where it compared the canary's partitions."""

from __future__ import annotations

import pytest

from streams.operate.audit.audit import AuditReport
from streams.operate.audit.finding import AuditFinding, FindingPlace
from streams.operate.audit.refused import RefusedRows
from streams.operate.audit.snapshot import AuditSnapshot, DeadLetterCounts, PartitionSnapshot
from streams.operate.canary.audited import judge_audit
from streams.operate.canary.comparison import CanaryVerdict

HELD = {("g", "t", 1)}


def books(*, moving=(), partitions=(0, 1)) -> AuditSnapshot:
    found = tuple(
        PartitionSnapshot(
            partition=number, begin_offset=0, end_offset=0, committed_offset=0, committed_epoch=0,
            ledger=(), shed=(),
        )
        for number in partitions
    )  # fmt: skip
    return AuditSnapshot(
        group="g", topic="t", partitions=found, dead=DeadLetterCounts(), moving=frozenset(moving),
        refused=RefusedRows(frozenset()), rows=None, expired_events=0, stale=(),
    )  # fmt: skip


def finding(partition) -> AuditFinding:
    return AuditFinding("rows", FindingPlace("t", partition), "1", "2", "")


@pytest.mark.parametrize(
    ("report", "deep", "verdict"),
    [
        (AuditReport(books=[books()]), False, "PASS"),
        (AuditReport(books=[books()], findings=[finding(0)]), False, "PASS"),
        (AuditReport(books=[books()], findings=[finding(1)]), False, "WORSE"),
        (AuditReport(books=[books()], findings=[finding(None)]), False, "UNKNOWN"),
        (AuditReport(books=[books(moving={0})]), False, "PASS"),
        (AuditReport(books=[books(moving={1})]), False, "UNKNOWN"),
        (AuditReport(books=[books(moving={1})]), True, "PASS"),
        (AuditReport(books=[books(moving={1})], not_recounted=["t/1: too many"]), True, "UNKNOWN"),
        (AuditReport(books=[books(moving={1})], not_recounted=["t/0: too many"]), True, "PASS"),
        (AuditReport(books=[books(partitions=(0,))]), False, "UNKNOWN"),
        (AuditReport(), False, "UNKNOWN"),
    ],
)
def test_a_partition_that_was_not_compared_is_not_a_pass(report, deep, verdict):
    """A difference elsewhere is not the canary's; a difference of the whole topic may be."""
    assert judge_audit(report, HELD, deep=deep).verdict is CanaryVerdict[verdict]


def test_a_canary_without_partitions_is_unknown():
    """Nothing of its work was audited."""
    assert judge_audit(AuditReport(), set(), deep=False).verdict is CanaryVerdict.UNKNOWN
