"""A trace as JSON fields, the same for `dia trace --json` and the console."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from streams.operate.trace.log_scan import SearchedRange
from streams.operate.trace.timeline import timeline
from streams.operate.trace.trace_report import LetterTrace, RecordTrace, TraceReport


def fields(report: TraceReport) -> dict[str, Any]:
    """Times are milliseconds since the epoch; bytes are text, others than UTF-8 escaped."""
    return {
        "asked": report.asked,
        "kinds": report.kinds,
        "outcome": report.outcome,
        "records": [_record(one) for one in report.records],
        "dead_letters": [_letter(one) for one in report.letters],
        "plans": [
            {
                "topic": one.topic,
                "partition": one.partition,
                "plan": one.status.plan,
                "run": one.status.run,
                "state": one.status.state,
                "actor": one.status.actor,
                "letters": one.status.letters,
                "replayed": one.status.replayed,
                "parked": one.status.parked,
                "left": one.status.left,
                "began_ms": one.status.began_ms,
                "last_ms": one.status.last_ms,
                "reason": one.status.reason,
            }
            for one in report.plans
        ],
        "searched": [_range(one) for one in report.searched],
        "notes": report.notes,
        "whole": report.whole,
        "more": report.more,
        "late": report.late,
        "seconds": round(report.seconds, 3),
    }


def _record(one: RecordTrace) -> dict[str, Any]:
    record = one.record
    return {
        "place": record.place,
        "append_ms": record.append_ms,
        "event_ms": record.event_ms,
        "found_by": record.found_by,
        "tenant": record.tenant,
        "key": _text(record.key),
        "value": _text(record.value),
        "headers": [[name, _text(content)] for name, content in record.headers],
        "group": one.group,
        "verdict": one.verdict.fate.value,
        "duplicate_of": one.verdict.first,
        "code": one.verdict.code,
        "committed": one.committed,
        "doubts": one.doubts,
        "dead_letters": [_letter(letter) for letter in one.letters],
        "windows": [
            {
                "table": window.table,
                "names": window.names,
                "start_ms": window.start_ms,
                "end_ms": window.end_ms,
                "late": window.late,
                "stored": window.stored,
                "rows": [_plain(row) for row in window.rows],
                "before": None
                if window.course is None or window.course.before is None
                else _plain(window.course.before),
                "after": None if window.course is None else _plain(window.course.after),
            }
            for window in one.windows
        ],
        "rows": [
            {"table": found.table, "rows": [_plain(row) for row in found.rows]}
            for found in one.rows
        ],
        "in_outbox": one.in_outbox,
        "timeline": [
            {"at_ms": step.at_ms, "what": step.what, "text": step.text} for step in timeline(one)
        ],
    }


def _letter(one: LetterTrace) -> dict[str, Any]:
    letter = one.letter
    return {
        "id": letter.id,
        "place": one.place,
        "code": letter.error_code,
        "message": letter.error_message,
        "failed_ms": letter.failed_ms,
        "hops": letter.hops,
        "state": one.state,
        "decisions": [
            {
                "disposition": decision.disposition.word,
                "at_ms": decision.at_ms,
                "actor": decision.actor,
                "plan": decision.plan,
                "reason": decision.reason,
            }
            for decision in one.decisions
        ],
    }


def _range(one: SearchedRange) -> dict[str, Any]:
    return {
        "topic": one.tp.topic,
        "partition": one.tp.partition,
        "log_begin": one.log_begin,
        "log_end": one.log_end,
        "from": one.start,
        "to": one.reached,
        "wanted_to": one.end,
        "unreadable": one.unreadable,
        "trimmed": one.trimmed,
    }


def _text(raw: bytes | None) -> str | None:
    return None if raw is None else raw.decode(errors="backslashreplace")


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in row.items()
    }
