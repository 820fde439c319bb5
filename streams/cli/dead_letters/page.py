"""One dead letter as a readable page: origin, reason, content, and whether it would pass today."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from streams.cli.terminal.payload import document, moment, shown
from streams.core.words.printable import printable
from streams.operate.replay.report import NOWHERE, DeadLetterReport

_FOUND_MAX = 200


@dataclass(frozen=True, slots=True)
class DeadLetterPage:
    sheet: DeadLetterReport

    def lines(self) -> Iterator[str]:
        letter = self.sheet.letter
        yield f"dead letter {printable(letter.id)}"
        for name, text in self._facts():
            yield f"  {name:<10} {text}"
        yield from _headers("headers", self.sheet.original.headers)
        yield from _headers("headers of the DLQ", letter.added_headers)
        kind, lines = document(self.sheet.original.value)
        yield f"value ({len(self.sheet.original.value or b''):,} bytes, {kind})"
        yield from (f"  {line}" for line in lines)

    def _facts(self) -> Iterator[tuple[str, str]]:
        letter = self.sheet.letter
        yield "lies in", f"{letter.dlq} at offset {letter.offset}"
        yield "came from", self._origin()
        yield "failed", self._occasion()
        yield "why", printable(f"{letter.error_code}: {letter.error_message}".rstrip(": "))
        if self.sheet.path:
            found = "" if self.sheet.found is NOWHERE else f" = {self._quoted()}"
            yield "path", printable(self.sheet.path) + found
        yield "now", self._now()
        for one in self.sheet.decisions:
            by = f"plan {one.plan} of {one.actor}" if one.plan else one.actor
            why = f": {one.reason}" if one.reason else ""
            said = f"{one.disposition.word} by {by} at {moment(one.at_ms)}{why}"
            yield "decided", printable(said)
        yield "tenant", printable(letter.tenant) or "unknown"
        yield "schema", str(letter.schema_version or "unknown")
        yield "key", shown(self.sheet.original.key)
        if letter.pointer is not None:
            size = letter.pointer.value_bytes
            yield "pointer", f"too large for the DLQ: its {size:,} bytes are in the source topic"

    def _origin(self) -> str:
        letter = self.sheet.letter
        if letter.source_tp is None or letter.source_offset is None:
            return "unknown"
        at = moment(letter.source_timestamp_ms)
        return f"{printable(str(letter.source_tp))} at offset {letter.source_offset}, appended {at}"

    def _occasion(self) -> str:
        letter = self.sheet.letter
        by = f"{letter.agent} ({letter.group})"
        attempts = "" if letter.attempts is None else f", attempt {letter.attempts}"
        return printable(
            f"{moment(letter.failed_ms)} in {by}, stage {letter.stage}{attempts}, "
            f"after {letter.hops} replays; headers of {letter.dialect.name}"
        )

    def _now(self) -> str:
        verdict = self.sheet.verdict
        if verdict.passes:
            return "would pass"
        said = printable(f"{verdict.code}: {verdict.message}")
        return f"would still fail, {said}" if verdict.passes is False else f"unknown, {said}"

    def _quoted(self) -> str:
        text = printable(json.dumps(self.sheet.found, ensure_ascii=False))
        return text if len(text) <= _FOUND_MAX else f"{text[:_FOUND_MAX]}..."


def _headers(title: str, pairs: Any) -> Iterator[str]:
    if pairs:
        yield title
        width = max(len(printable(name)) for name, _ in pairs)
        yield from (f"  {printable(name):<{width}}  {shown(value)}" for name, value in pairs)
