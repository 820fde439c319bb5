"""P5 and P6 of one partition: assesses, repairs and sends dead letters, one transaction a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from streams.core.clock import Clock
from streams.core.errors import TransientError
from streams.core.types import OutboundRecord
from streams.operate.dlq.dead_letter import DeadLetterRecord
from streams.operate.replay.journal.dead_letter_mark import mark_of
from streams.operate.replay.journal.dispositions import ReplayDisposition
from streams.operate.replay.journal.journal import Disposed
from streams.operate.replay.journal.owner import QueueOwner
from streams.operate.replay.journal.ranges import OffsetSet
from streams.operate.replay.plan.assess import Action, Assessed, Assessor
from streams.operate.replay.plan.plan import ReplayPlan
from streams.operate.replay.run.disposition_publisher import DispositionPublisher
from streams.operate.replay.run.outgoing import outgoing, parked_record
from streams.operate.replay.run.row_return import RowReturn

ROW_REFUSED = "row_refused"
STEP_BYTES = 8 << 20
_PAUSES_S = (0.5, 1.0, 2.0, 4.0)


class FailedDeadLetter(Exception):  # noqa: N818 - a signal to the run, whose policy is to stop here
    """The plan stops at a dead letter that fails."""

    def __init__(self, one: Assessed) -> None:
        super().__init__(_why(one))


@dataclass(slots=True)
class Stepper:
    """Takes the steps of one run in one owned partition. ``partitions``: counts of the possible
    topics."""

    plan: ReplayPlan
    run: str
    actor: str
    owner: QueueOwner
    assessor: Assessor
    showing: DispositionPublisher
    rows: RowReturn
    clock: Clock
    partitions: Mapping[str, int]
    seen: Callable[[int], None] = field(default=lambda count: None)

    async def take(self, letters: Sequence[DeadLetterRecord]) -> None:
        """Decide on these undecided dead letters of the plan in one transaction. Raises
        `FailedDeadLetter` after committing those before it, and `PartitionRestart` kinds."""
        found = await self.assessor.assess(letters, self.owner.standing.dispositions)
        failed: Assessed | None = None
        for index, one in enumerate(found):
            if self._stops(one):
                failed, found = one, found[:index]
                break
        found = [await self._inserted(one) for one in found]
        if found:
            await self._commit(
                found, failed.letter.offset if failed else found[-1].letter.offset + 1
            )
        if failed is not None:
            raise FailedDeadLetter(failed)

    def _stops(self, one: Assessed) -> bool:
        return (
            self.plan.terms.on_failure == "stop"
            and one.action is Action.LEAVE
            and bool(one.message)
        )

    async def _commit(self, found: Sequence[Assessed], reached: int) -> None:
        decided: dict[int, ReplayDisposition] = {}
        why_left = next((_why(one) for one in found if one.action is Action.LEAVE), "")
        records: list[OutboundRecord] = []
        for one in found:
            offset = one.letter.offset
            if one.action is Action.REPLAY:
                records.append(self._outgoing(one))
                decided[offset] = ReplayDisposition.REPLAYED
            elif one.action is Action.INSERT:
                decided[offset] = ReplayDisposition.REPLAYED
            elif one.action is Action.PARK:
                parked = f"{one.reason}: {one.message}"
                records.append(parked_record(self.owner.source, one.letter, parked))
                decided[offset] = ReplayDisposition.PARKED
        entry = Disposed(
            at_ms=self.clock.now_ms(),
            actor=self.actor,
            plan=self.plan.id,
            run=self.run,
            replayed=_set(decided, ReplayDisposition.REPLAYED),
            parked=_set(decided, ReplayDisposition.PARKED),
            left=len(found) - len(decided),
            why_left=why_left,
            reached=reached,
            shown=self.showing.seq,
            mark=mark_of([one.letter for one in found]),
        )
        await self.owner.commit([entry], records)
        letters = [one.letter for one in found if one.letter.offset in decided]
        await self.showing.put(entry, letters, decided)
        self.seen(len(found))

    def _outgoing(self, one: Assessed) -> OutboundRecord:
        target = self.assessor.target(one.letter)
        assert target is not None
        assert one.record is not None
        count = self.partitions[target.name]
        return outgoing(one.letter, one.record, target.name, count, self.plan.id)

    async def _inserted(self, one: Assessed) -> Assessed:
        """Insert a row before the transaction that journals it; repeating it is harmless. A row
        refused again fails like any dead letter."""
        if one.action is not Action.INSERT:
            return one
        assert one.record is not None
        for pause_s in (*_PAUSES_S, None):
            try:
                why = await self.rows.put(one.letter, one.record.value)
            except TransientError:
                if pause_s is None:
                    raise
                await self.clock.sleep(pause_s)
            else:
                return self._refused(one, why) if why else one
        return one

    def _refused(self, one: Assessed, message: str) -> Assessed:
        park = self.plan.terms.on_failure == "park"
        return one._replace(
            action=Action.PARK if park else Action.LEAVE, reason=ROW_REFUSED, message=message
        )


def steps(letters: Sequence[DeadLetterRecord], count: int) -> list[Sequence[DeadLetterRecord]]:
    """At most ``count`` dead letters and about `STEP_BYTES` each."""
    sizes = np.cumsum([len(letter.value or b"") + 1000 for letter in letters])
    found: list[Sequence[DeadLetterRecord]] = []
    start = 0
    while start < len(letters):
        before = int(sizes[start - 1]) if start else 0
        fits = int(np.searchsorted(sizes, before + STEP_BYTES, "right"))
        stop = max(start + 1, min(start + count, fits))
        found.append(letters[start:stop])
        start = stop
    return found


def _why(one: Assessed) -> str:
    return f"{one.letter.id}: {one.reason}: {one.message}"


def _set(decided: Mapping[int, ReplayDisposition], wanted: ReplayDisposition) -> str:
    return str(OffsetSet.of([offset for offset, found in decided.items() if found is wanted]))
