"""One record's trace as steps, in the order in which they came about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from streams.core.records import headers
from streams.operate.trace.event_windows import EventWindow
from streams.operate.trace.trace_report import LetterTrace, RecordTrace, TimelineStep
from streams.operate.trace.verdict import Fate


def timeline(one: RecordTrace) -> list[TimelineStep]:
    """The steps of a record, from its append to what became of it."""
    return [*_append(one), *_verdict(one), *_commit(one), *_letters(one.letters), *_effects(one)]


def _append(one: RecordTrace) -> Iterator[TimelineStep]:
    record = one.record
    parent = headers.last(record.headers, headers.TRACEPARENT)
    if parent is not None:
        traced = parent.decode(errors="replace")
        yield TimelineStep(None, "sent", f"by a traced request: traceparent {traced}")
    if record.event_ms is not None and record.topic.time_field:
        yield TimelineStep(record.event_ms, "event time", f"the field {record.topic.time_field}")
    key = "no key" if record.key is None else f"key {record.key.decode(errors='backslashreplace')}"
    replayed = f", a replay of {record.replay_of}" if record.replay_of else ""
    yield TimelineStep(record.append_ms, "appended", f"to {record.place}, {key}{replayed}")
    if record.refusal is not None:
        code, message = record.refusal
        yield TimelineStep(None, "decoded", f"today it would be refused, {code}: {message}")


def _verdict(one: RecordTrace) -> Iterator[TimelineStep]:
    verdict = one.verdict
    text = verdict.fate.value
    if verdict.fate is Fate.DUPLICATE:
        text = f"duplicate of offset {verdict.first}, which counted"
    elif verdict.fate is Fate.DEAD_LETTER:
        text = f"dead letter, {verdict.code}"
    elif verdict.fate is Fate.UNREAD:
        done = "nothing" if one.committed is None else f"offset {one.committed}"
        text = f"not read yet: group {one.group} has committed {done}"
    yield TimelineStep(None, "verdict", text)


def _commit(one: RecordTrace) -> Iterator[TimelineStep]:
    if one.verdict.fate in (Fate.UNREAD, Fate.NO_READER) or one.committed is None:
        return
    link = one.link
    behind = f"group {one.group} has committed offset {one.committed}"
    if link is None:
        yield TimelineStep(None, "committed", f"{behind}; the changelog no longer has its link")
        return
    found = link.found
    what = (
        f"link {found.link.seq} of epoch {found.link.epoch}, offsets {found.link.from_offset} to "
        f"{found.link.next_offset - 1}, at changelog offset {found.at}"
    )
    if not link.covers(one.record.offset) or not link.kept:
        what = f"by or before {what}: earlier links are trimmed"
        yield TimelineStep(None, "committed", f"{what}; {behind}")
        return
    yield TimelineStep(found.written_ms, "committed", f"{what}; {behind}")


def _letters(letters: Sequence[LetterTrace]) -> Iterator[TimelineStep]:
    for traced in letters:
        letter = traced.letter
        yield TimelineStep(
            letter.failed_ms,
            "dead letter",
            f"{letter.error_code} at {traced.place}, id {letter.id}, replayed {letter.hops} times "
            f"before: {letter.error_message}",
        )
        for decision in traced.decisions:
            plan = f" by plan {decision.plan}" if decision.plan else ""
            reason = f": {decision.reason}" if decision.reason else ""
            text = f"{traced.place}{plan}, {decision.actor}{reason}"
            yield TimelineStep(decision.at_ms, decision.disposition.word, text)


def _effects(one: RecordTrace) -> Iterator[TimelineStep]:
    for window in one.windows:
        names = " ".join(str(name) for name in window.names.values())
        state = ""
        if window.late:
            state = ": late, it was closed before, and the event is not in it"
        elif window.late is None:
            state = ": the log does not decide whether the event was late for it"
        yield TimelineStep(window.start_ms, "window", f"{window.table}, {names}{state}")
        if window.late:
            continue
        yield from _course(window, one)
        figures = "; ".join(map(_figures, window.rows))
        yield TimelineStep(None, "now", figures or "no row yet")
        yield TimelineStep(None, "row", _stored(window.stored, window.table, one.in_outbox))
    for found in one.rows:
        yield TimelineStep(None, "row", f"{len(found.rows)} in ClickHouse table {found.table}")
    for answer in one.answers:
        yield TimelineStep(answer.append_ms, "answered", f"at {answer.place}")


def _course(window: EventWindow, one: RecordTrace) -> Iterator[TimelineStep]:
    """The window around the commit, which may have counted other events too."""
    course, link = window.course, one.link
    if course is None or link is None:
        return
    before = "unknown: the changelog does not reach back to it"
    if course.before is not None:
        before = _figures(course.before) or "the window did not exist"
    yield TimelineStep(None, "before", before)
    counted = link.found.link.next_offset - link.found.link.from_offset
    others = f", by the commit of {counted:,} offsets" if counted > 1 else ""
    yield TimelineStep(link.found.written_ms, "after", f"{_figures(course.after)}{others}")


def _figures(row: Mapping[str, Any]) -> str:
    """Floats with six significant digits, as the console shows them."""
    return ", ".join(
        f"{name} {value:.6g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in row.items()
    )


def _stored(stored: bool | None, table: str, in_outbox: dict[str, int]) -> str:
    if stored:
        return f"acknowledged: a row of {table} in ClickHouse covers the event"
    if stored is None:
        return f"whether one of {table} covers the event is open: its link is trimmed, or the row expired"
    rows = f" The outbox holds {in_outbox[table]} of {table}." if in_outbox.get(table) else ""
    return (
        f"none of {table} in ClickHouse covers the event yet: a live window's row follows within "
        f"seconds, a session's after its end, and `dia audit` finds a lost one.{rows}"
    )
