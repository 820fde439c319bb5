"""A trace as lines of a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from streams.cli.terminal.payload import document, moment
from streams.core.words.printable import printable

if TYPE_CHECKING:
    from streams.operate.trace.log_scan import SearchedRange
    from streams.operate.trace.trace_report import (
        LetterTrace,
        RecordTrace,
        TimelineStep,
        TraceReport,
    )

_MOMENT_WIDTH = 24
_WHAT_WIDTH = 11


class TracePage:
    def __init__(self, report: TraceReport) -> None:
        self._report = report

    def lines(self) -> Iterator[str]:
        report = self._report
        if report.outcome:
            kinds = ", ".join(report.kinds)
            yield printable(f"{report.asked} ({kinds}): {report.outcome}")
        for plan in report.plans:
            status = plan.status
            yield ""
            yield printable(
                f"plan {status.plan} in {plan.topic}.dlq/{plan.partition}: {status.state}, by "
                f"{status.actor}, {moment(status.began_ms)} to {moment(status.last_ms)}; of "
                f"{status.letters} letters {status.replayed} replayed, {status.parked} parked, "
                f"{status.left} left. `dia replay status {status.plan}`"
            )
        for one in report.records:
            yield ""
            yield from self._record(one)
        for letter in report.letters:
            yield ""
            yield from self._letter(letter)
        if report.more:
            yield ""
            yield "There are more: --limit shows them."

    def searched(self) -> Iterator[str]:
        """What was searched, by topic; holes and notes by partition."""
        report = self._report
        topics: dict[str, list[SearchedRange]] = {}
        for one in report.searched:
            topics.setdefault(one.tp.topic, []).append(one)
        for topic, found in topics.items():
            offsets = sum(one.offsets for one in found)
            if not offsets and not any(one.end > one.start for one in found):
                continue
            yield f"searched {topic}: {offsets:,} offsets ({_spans(found)})"
            for one in found:
                yield from _holes(one)
        yield from report.notes
        yield f"{report.seconds:.1f} s."

    def _record(self, one: RecordTrace) -> Iterator[str]:
        yield printable(f"{one.record.place}: {one.verdict.fate.value}")
        from streams.operate.trace.timeline import timeline

        for step in timeline(one):
            yield _step(step)
        for doubt in one.doubts:
            yield printable(f"  {'':{_MOMENT_WIDTH}}  {'doubt':{_WHAT_WIDTH}}  {doubt}")
        kind, body = document(one.record.value)
        yield f"  value ({kind}):"
        yield from (f"    {line}" for line in body)

    def _letter(self, one: LetterTrace) -> Iterator[str]:
        letter = one.letter
        yield printable(f"dead letter {letter.id} at {one.place}: {one.state}")
        failed = f"{letter.error_code}: {letter.error_message}"
        yield printable(
            f"  {moment(letter.failed_ms):{_MOMENT_WIDTH}}  {'failed':{_WHAT_WIDTH}}  {failed}"
        )
        for decision in one.decisions:
            plan = f"by plan {decision.plan}, " if decision.plan else ""
            yield printable(
                f"  {moment(decision.at_ms):{_MOMENT_WIDTH}}  "
                f"{decision.disposition.word:{_WHAT_WIDTH}}  {plan}{decision.actor}"
            )


def _step(step: TimelineStep) -> str:
    at = "" if step.at_ms is None else moment(step.at_ms)
    return printable(f"  {at:{_MOMENT_WIDTH}}  {step.what:{_WHAT_WIDTH}}  {step.text}")


def _spans(found: list[SearchedRange]) -> str:
    if len(found) > 8:
        return f"{len(found)} partitions"
    return ", ".join(f"{one.tp.partition}: {one.start} to {one.reached}" for one in found)


def _holes(one: SearchedRange) -> Iterator[str]:
    if one.log_begin > 0 and one.start <= one.log_begin:
        yield f"  {one.tp} begins at offset {one.log_begin}: retention deleted what lay before"
    if one.trimmed:
        yield f"  {one.tp}: retention deleted records during the search"
    if one.reached < one.end:
        yield f"  {one.tp}: offsets {one.reached} to {one.end - 1} were not searched"
    for first, until in one.unreadable:
        yield f"  {one.tp}: offsets {first} to {until - 1} cannot be opened, so not searched"
