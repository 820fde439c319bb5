"""One dead letter as a page to read: where from, why, what is in it, would it pass now."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from streams.cli.payload import document, moment, printable, shown
from streams.dlq.export import exported
from streams.dlq.letter import Letter, Original
from streams.dlq.verdict import Verdict
from streams.replay.decided import Decision

_NAMED_PATH = re.compile(r"(\$[^\s:]*|key|dia\.[a-z_.]+): ")
"""How the codecs begin their sentences (streams/defects.py)."""
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")
_NOWHERE = object()
_FOUND_MAX = 200


@dataclass(frozen=True, slots=True)
class Sheet:
    """``original`` is the failed record: of a pointer, as far as the source topic still has it.
    ``decisions``: oldest first."""

    letter: Letter
    original: Original
    verdict: Verdict
    decisions: Sequence[Decision]

    def fields(self) -> dict[str, Any]:
        """Everything, as one JSON object."""
        verdict = self.verdict
        return {
            **exported(self.letter),
            "path": self._path,
            "found": None if self._found is _NOWHERE else self._found,
            "passes_now": verdict.passes,
            "now": verdict._asdict(),
            "decisions": [
                {**one._asdict(), "disposition": one.disposition.word} for one in self.decisions
            ],
        }

    def lines(self) -> Iterator[str]:
        """Everything, for a reader."""
        letter = self.letter
        yield f"dead letter {printable(letter.id)}"
        for name, text in self._facts():
            yield f"  {name:<10} {text}"
        yield from _headers("headers", self.original.headers)
        yield from _headers("headers of the DLQ", letter.added_headers)
        kind, lines = document(self.original.value)
        yield f"value ({len(self.original.value or b''):,} bytes, {kind})"
        yield from (f"  {line}" for line in lines)

    def _facts(self) -> Iterator[tuple[str, str]]:
        letter = self.letter
        yield "lies in", f"{letter.dlq} at offset {letter.offset}"
        yield "came from", self._origin()
        yield "failed", self._occasion()
        yield "why", printable(f"{letter.error_code}: {letter.error_message}".rstrip(": "))
        if self._path:
            found = "" if self._found is _NOWHERE else f" = {self._quoted()}"
            yield "path", printable(self._path) + found
        yield "now", self._now()
        for one in self.decisions:
            by = f"plan {one.plan} of {one.actor}" if one.plan else one.actor
            why = f": {one.reason}" if one.reason else ""
            said = f"{one.disposition.word} by {by} at {moment(one.at_ms)}{why}"
            yield "decided", printable(said)
        yield "tenant", printable(letter.tenant) or "unknown"
        yield "schema", str(letter.schema_version or "unknown")
        yield "key", shown(self.original.key)
        if letter.pointer is not None:
            size = letter.pointer.value_bytes
            yield "pointer", f"too large for the DLQ: its {size:,} bytes are in the source topic"

    def _origin(self) -> str:
        letter = self.letter
        if letter.source_tp is None or letter.source_offset is None:
            return "unknown"
        at = moment(letter.source_timestamp_ms)
        return f"{printable(str(letter.source_tp))} at offset {letter.source_offset}, appended {at}"

    def _occasion(self) -> str:
        letter = self.letter
        by = f"{letter.agent} ({letter.group})"
        attempts = "" if letter.attempts is None else f", attempt {letter.attempts}"
        return printable(
            f"{moment(letter.failed_ms)} in {by}, stage {letter.stage}{attempts}, "
            f"after {letter.hops} replays; headers of {letter.dialect.name}"
        )

    def _now(self) -> str:
        verdict = self.verdict
        if verdict.passes:
            return "would pass"
        said = printable(f"{verdict.code}: {verdict.message}")
        return f"would still fail, {said}" if verdict.passes is False else f"unknown, {said}"

    @property
    def _path(self) -> str:
        """The place in the document that the error names."""
        match = _NAMED_PATH.match(self.letter.error_message)
        return match[1] if match else ""

    @property
    def _found(self) -> Any:
        """What the document has at that place; `_NOWHERE` if it is no JSON, or has nothing."""
        path = self._path
        if not path.startswith("$") or self.original.value is None:
            return _NOWHERE
        try:
            node = json.loads(self.original.value)
            end = 1
            for step in _STEP.finditer(path, 1):
                node = node[int(step[2])] if step[2] else node[step[1]]
                end = step.end()
        except (ValueError, RecursionError, KeyError, IndexError, TypeError):
            return _NOWHERE
        return node if end == len(path) else _NOWHERE

    def _quoted(self) -> str:
        text = printable(json.dumps(self._found, ensure_ascii=False))
        return text if len(text) <= _FOUND_MAX else f"{text[:_FOUND_MAX]}..."


def _headers(title: str, pairs: Any) -> Iterator[str]:
    if pairs:
        yield title
        width = max(len(printable(name)) for name, _ in pairs)
        yield from (f"  {printable(name):<{width}}  {shown(value)}" for name, value in pairs)
