"""Decides the action for each dead letter, and its reason, both when the plan is made and when it
runs: so the run does what the plan shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Final, NamedTuple

import numpy as np

from streams.core.errors import RecordLost
from streams.core.settings import Settings
from streams.core.topics.topic import Topic
from streams.core.topics.topology import Topology
from streams.core.types import LogReader
from streams.engine.decode.codecs import Limits
from streams.engine.runtime.effects.refused_close import WINDOW_STAGE
from streams.operate.dlq.dead_letter import (
    PROCESS_STAGE,
    SINK_STAGE,
    DeadLetterRecord,
    Original,
    refetch,
)
from streams.operate.dlq.verdict import CLOSED_WINDOW, judge
from streams.operate.replay.journal.dispositions import Dispositions, ReplayDisposition
from streams.operate.replay.plan.plan import Terms
from streams.operate.replay.plan.repair import Repair, RepairFailed
from streams.operate.replay.run.outgoing import allowed, first_append_ms
from streams.operate.replay.run.sink_row import readable_row


class Action(Enum):
    REPLAY = "replay"
    INSERT = "insert"
    """the value is a row of a table or a sink: it is inserted there, not sent to Kafka"""
    PARK = "park"
    LEAVE = "leave"


STILL_FAILS: Final = "still_fails"
HOP_CAP: Final = "hop_cap"
SOURCE_UNKNOWN: Final = "source_unknown"
DECLINED: Final = "transform_declined"
_DECIDED = {
    ReplayDisposition.REPLAYED: "already_replayed",
    ReplayDisposition.PARKED: "parked",
    ReplayDisposition.DISCARDED: "discarded",
}
_BY_CODE = tuple(ReplayDisposition)


class Assessed(NamedTuple):
    """``reason``: "" for a replay, else a stable word. ``record``: the record or row to send.
    ``decided``: it has a disposition already. ``certain``: the current code accepts it."""

    letter: DeadLetterRecord
    action: Action
    reason: str = ""
    message: str = ""
    record: Original | None = None
    decided: bool = False
    certain: bool = True


class Assessor:
    """Assesses dead letters under the terms of one plan, with the current code."""

    def __init__(
        self, terms: Terms, settings: Settings, topology: Topology, reader: LogReader
    ) -> None:
        """Raises the errors of `Repair`, and `KeyError` for an undeclared target."""
        self.repair = Repair(terms)
        self._terms = terms
        self._targets = topology.targets
        self._target = topology.topic(terms.target) if terms.target is not None else None
        self._limits = Limits(settings.future_max_s, settings.late_max_s)
        self._reader = reader

    def target(self, letter: DeadLetterRecord) -> Topic | None:
        return self._target or letter.source

    async def assess(
        self, letters: Sequence[DeadLetterRecord], dispositions: Dispositions
    ) -> list[Assessed]:
        """One result for each dead letter, in order. Raises `BrokerUnavailable` and
        `SchemaRegistryUnavailable`."""
        found: dict[int, Assessed] = {}
        mended: dict[Topic, list[tuple[int, Original]]] = {}
        codes = dispositions.codes(np.array([letter.offset for letter in letters], np.int64))
        for index, (letter, code) in enumerate(zip(letters, codes.tolist(), strict=True)):
            answer = self._at_once(letter, _BY_CODE[code])
            record: Original | None = None
            if answer is None:
                try:
                    record = await self._mended(letter)
                except RecordLost as lost:
                    answer = self._failed(letter, lost.code, str(lost))
                except RepairFailed as failed:
                    answer = self._failed(letter, failed.code, str(failed))
            if answer is not None:
                found[index] = answer
            elif record is None:
                what = "the transform returned None for it"
                found[index] = Assessed(letter, Action.LEAVE, DECLINED, what)
            elif letter.stage == SINK_STAGE:
                found[index] = self._row(letter, record)
            else:
                target = self.target(letter)
                assert target is not None
                mended.setdefault(target, []).append((index, record))
        for target, records in mended.items():
            found.update(await self._judged(letters, target, records))
        return [found[index] for index in range(len(letters))]

    def _at_once(self, letter: DeadLetterRecord, disposition: ReplayDisposition) -> Assessed | None:
        """The result that needs no look at the record."""
        if disposition is not ReplayDisposition.OPEN:
            return Assessed(letter, Action.LEAVE, _DECIDED[disposition], decided=True)
        if letter.stage == WINDOW_STAGE:
            what = "its window closed, and no record failed: apply the window in the letter by hand"
            return Assessed(letter, Action.LEAVE, CLOSED_WINDOW, what)
        if letter.hops >= self._terms.hops_max:
            what = f"it was replayed {letter.hops} times and failed each time"
            return Assessed(letter, Action.PARK, HOP_CAP, what)
        if letter.stage != SINK_STAGE and self.target(letter) is None:
            origin = letter.topic or "its headers do not say which"
            what = f"its topic ({origin}) is not a topic of this app; --to names where it goes"
            return Assessed(letter, Action.LEAVE, SOURCE_UNKNOWN, what)
        return None

    async def _mended(self, letter: DeadLetterRecord) -> Original | None:
        original = letter.original()
        if letter.pointer is not None:
            original = await refetch(self._reader, letter)
        kept = allowed(original.headers, self._terms.headers)
        record = original._replace(headers=kept, timestamp_ms=first_append_ms(letter))
        return self.repair.apply(record) if self.repair.changes else record

    async def _judged(
        self,
        letters: Sequence[DeadLetterRecord],
        target: Topic,
        records: Sequence[tuple[int, Original]],
    ) -> Mapping[int, Assessed]:
        verdicts = await judge(target, [record for _, record in records], self._limits)
        found = {}
        for (index, record), verdict in zip(records, verdicts, strict=True):
            letter = letters[index]
            if verdict.passes:
                certain = letter.stage != PROCESS_STAGE
                found[index] = Assessed(letter, Action.REPLAY, record=record, certain=certain)
            else:
                what = f"{verdict.code}: {verdict.message}"
                found[index] = self._failed(letter, STILL_FAILS, what)
        return found

    def _row(self, letter: DeadLetterRecord, record: Original) -> Assessed:
        try:
            readable_row(self._targets, letter, record.value)
        except ValueError as error:
            return self._failed(
                letter, STILL_FAILS, f"the value is no row of a table or a sink: {error}"
            )
        return Assessed(letter, Action.INSERT, record=record, certain=False)

    def _failed(self, letter: DeadLetterRecord, reason: str, message: str) -> Assessed:
        action = Action.PARK if self._terms.on_failure == "park" else Action.LEAVE
        return Assessed(letter, action, reason, message)
