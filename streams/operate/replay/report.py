"""The full report of one dead letter: its record, whether it would pass today, and its
decisions."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from streams.connect.broker.opened import opened
from streams.core.errors import RecordLost, UnknownTopic
from streams.core.settings import Settings
from streams.core.topics.topology import Topology
from streams.core.types import Broker, LogReader
from streams.engine.decode.codecs import Limits
from streams.operate.dlq.dead_letter import DeadLetterRecord, Original, refetch
from streams.operate.dlq.export import exported
from streams.operate.dlq.queues import find
from streams.operate.dlq.verdict import DecodeVerdict, verdicts
from streams.operate.replay.journal.decided import Decision, history

_NAMED_PATH = re.compile(r"(\$[^\s:]*|key|dia\.[a-z_.]+): ")
"""Prefix of the codecs' messages (streams/core/records/defects.py)."""
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")
NOWHERE = object()


@dataclass(frozen=True, slots=True)
class DeadLetterReport:
    """``original``: for a pointer, as far as the source topic has it. ``decisions``: oldest
    first."""

    letter: DeadLetterRecord
    original: Original
    verdict: DecodeVerdict
    decisions: Sequence[Decision]

    def fields(self) -> dict[str, Any]:
        verdict = self.verdict
        return {
            **exported(self.letter),
            "path": self.path,
            "found": None if self.found is NOWHERE else self.found,
            "passes_now": verdict.passes,
            "now": verdict._asdict(),
            "decisions": [
                {**one._asdict(), "disposition": one.disposition.word} for one in self.decisions
            ],
        }

    @property
    def path(self) -> str:
        """The place in the document that the error names."""
        match = _NAMED_PATH.match(self.letter.error_message)
        return match[1] if match else ""

    @property
    def found(self) -> Any:
        """The document's value there; `NOWHERE` without JSON or value."""
        path = self.path
        if not path.startswith("$") or self.original.value is None:
            return NOWHERE
        try:
            node = json.loads(self.original.value)
            end = 1
            for step in _STEP.finditer(path, 1):
                node = node[int(step[2])] if step[2] else node[step[1]]
                end = step.end()
        except (ValueError, RecursionError, KeyError, IndexError, TypeError):
            return NOWHERE
        return node if end == len(path) else NOWHERE


async def sheet_of(
    broker: Broker, settings: Settings, topology: Topology, place: str
) -> DeadLetterReport | None:
    """As `find`, by an id or a place."""
    async with opened(broker.admin()) as admin, opened(broker.reader()) as reader:
        letter = await find(admin, reader, topology, place)
        return None if letter is None else await _of(letter, reader, settings, topology)


async def _of(
    letter: DeadLetterRecord, reader: LogReader, settings: Settings, topology: Topology
) -> DeadLetterReport:
    limits = Limits(settings.future_max_s, settings.late_max_s)
    [verdict] = await verdicts(reader, [letter], limits)
    original = letter.original()
    if letter.pointer is not None:
        with suppress(RecordLost):  # the verdict reports it
            original = await refetch(reader, letter)
    decisions: list[Decision] = []
    with suppress(UnknownTopic):  # without a journal there are no decisions
        decisions = await history(reader, topology, letter)
    return DeadLetterReport(letter, original, verdict, decisions)
