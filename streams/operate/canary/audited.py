"""What an audit says of the canary's partitions."""

from __future__ import annotations

from collections.abc import Collection

from streams.operate.audit.audit import AuditReport
from streams.operate.canary.comparison import CanaryFigure, CanaryVerdict

SHOWN_MAX = 5


def judge_audit(
    report: AuditReport, held: Collection[tuple[str, str, int]], *, deep: bool
) -> CanaryFigure:
    """``held``: group, topic and partition of each that the canary holds. ``deep``: the audit recounted
    what its report does not list as not recounted."""
    ours = {(topic, number) for _, topic, number in held}
    topics = {topic for topic, _ in ours}
    found = [
        f"{one.place.topic}/{one.place.partition}: {one.check}"
        for one in report.findings
        if (one.place.topic, one.place.partition) in ours
    ]
    if found:
        return _figure(CanaryVerdict.WORSE, found)
    unknown = [
        f"{one.place.topic}: {one.check}"
        for one in report.findings
        if one.place.topic in topics and one.place.partition is None
    ]
    unknown += [
        f"{topic}/{number} {why}"
        for group, topic, number in sorted(held)
        if (why := _not_compared(report, group, topic, number, deep=deep))
    ]
    if not held:
        unknown.append("the canary holds no partition")
    if unknown:
        return _figure(CanaryVerdict.UNKNOWN, unknown)
    return _figure(CanaryVerdict.PASS, [f"{len(held)} partitions without a difference"])


def _not_compared(report: AuditReport, group: str, topic: str, number: int, *, deep: bool) -> str:
    books = [one for one in report.books if (one.group, one.topic) == (group, topic)]
    if not any(part.partition == number for one in books for part in one.partitions):
        return "was not audited"
    if not any(number in one.moving for one in books):
        return ""
    left_out = any(
        one.startswith((f"{topic}: ", f"{topic}/{number}: ")) for one in report.not_recounted
    )
    return "" if deep and not left_out else "commits while it is read: add --deep"


def _figure(verdict: CanaryVerdict, said: list[str]) -> CanaryFigure:
    more = [f"and {len(said) - SHOWN_MAX} more"] if len(said) > SHOWN_MAX else []
    return CanaryFigure(name="audit", verdict=verdict, detail="; ".join([*said[:SHOWN_MAX], *more]))
