"""An assigned partition of a job agent: requests read ahead, finished out of order.

 J1  read in log order, at most ``max_ahead`` past the prefix            `fold`
 J2  judge each by what the log says before it                          `_judge`
 J3  fresh ones go to the dispatcher; repeats of a running key wait
 J4  finished ones are answered, remembered, and marked                 `_finished`
 J5  the prefix moves over contiguous finished offsets                  `_pass`
 J6  after a crash reading begins at the prefix; what is marked is skipped

`Partition.progress` counts up to the prefix only, so a link says of a job partition what it says
of any: ``next_offset`` is where reading must go on, and its counters cover what lies before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import msgspec
import structlog
from xxhash import xxh3_128_digest

from streams.clock import Clock
from streams.codecs import Decoded, Limits, decode
from streams.errors import AgentFailed, IdempotencyConflict
from streams.job_agent import Answer, Ask, JobAgent, Outcome, Place
from streams.runtime.dispatcher import Dispatcher, Work
from streams.runtime.partition import Partition
from streams.runtime.shed_order import ShedOrder
from streams.runtime.source_check import Reached
from streams.runtime.state import PartitionState
from streams.types import OutboundRecord, RecordBatch, TopicPartition
from tables import FINISHED_OFFSETS, OUTCOMES
from tables.finished_offsets import APPLIED, DUPLICATE, FinishedOffsets
from tables.outcomes import Outcomes, Remembered

log = structlog.get_logger(__name__)

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Outcome).decode


class _Passing(NamedTuple):
    """A record that was read and that the prefix has not passed."""

    offset: int
    append_ms: int
    size_bytes: int


@dataclass(slots=True, eq=False)
class _Request:
    """A request that is not finished. ``waiting`` are the repeats of it that were read since."""

    offset: int
    append_ms: int
    key: bytes | None
    event: Any
    ask: Ask
    identity: bytes
    waiting: list[_Request] = field(default_factory=list)
    work: Work | None = None


class _Answered(NamedTuple):
    request: _Request
    answer: Answer
    verdict: str


class JobPartition(Partition):
    """See the module docstring."""

    def __init__(
        self,
        agent: JobAgent[Any],
        state: PartitionState,
        clock: Clock,
        dispatcher: Dispatcher,
        pass_until: int = 0,
    ) -> None:
        super().__init__(agent, state, clock, pass_until)
        self._jobs = agent
        self._dispatcher = dispatcher
        self._position = self.progress.fold_offset
        self._passing: deque[_Passing] = deque()
        self._passing_bytes = 0
        self._running: dict[bytes, list[_Request]] = {}
        self._told: list[Callable[[], None]] = []
        self._results = TopicPartition(agent.results.name, self.tp.partition)
        self.finished: FinishedOffsets = self.table(FINISHED_OFFSETS)
        self.outcomes: Outcomes = self.table(OUTCOMES)

    @property
    def position(self) -> int:
        return self._position

    @property
    def reached(self) -> Reached:
        if not self._passing:
            return super().reached
        offset, append_ms, _ = self._passing[-1]
        return Reached(self._position, offset, append_ms)

    def shed(self, order: ShedOrder) -> None:
        super().shed(order)
        self._position = max(self._position, self.progress.fold_offset)

    @property
    def fill(self) -> float:
        settings = self.state.context.settings
        return max(
            super().fill,
            1.0 if self._dispatcher.held else 0.0,
            (self._position - self.progress.fold_offset) / settings.max_ahead,
            self._passing_bytes / settings.max_ahead_bytes,
        )

    @property
    def settled(self) -> bool:
        return not self._passing and super().settled

    def settles(self, offset: int) -> bool:
        return super().settles(offset) or offset in self.finished

    def has_changes(self) -> bool:
        return self.finished.changed or super().has_changes()

    def abandon(self) -> None:
        """The partition's memory is gone: nobody waits for its work."""
        self._dispatcher.forget(self)

    # --- J1, J2 ------------------------------------------------------------------------------

    def fold(self, batch: RecordBatch) -> None:
        """Take in requests as far as there is room; `position` says how far that was."""
        assert batch.start == self._position, "a batch may neither repeat nor skip"
        self.outcomes.check_bound()
        batch = self._cut(batch)
        self._batch = batch
        self._position = batch.end
        if len(batch):
            settings = self.state.context.settings
            limits = Limits(settings.future_max_s, settings.late_max_s)
            sizes = [len(value or b"") for value in batch.values]
            self._passing += map(_Passing, batch.offsets, batch.timestamps, sizes)
            self._passing_bytes += sum(sizes)
            bad = self._take_in(batch, decode(self.agent.source, batch, limits))
            self._poison.observe(self.clock.monotonic(), len(batch), bad, batch.start)
        self._pass()
        self._batch = None

    def _cut(self, batch: RecordBatch) -> RecordBatch:
        """The part of the batch that may be read now."""
        settings = self.state.context.settings
        end = self.progress.fold_offset + settings.max_ahead
        room_bytes = settings.max_ahead_bytes - self._passing_bytes
        count = 0
        for offset, value in zip(batch.offsets, batch.values, strict=True):
            room_bytes -= len(value or b"")
            # The first request after the prefix is always taken, else nothing would ever move.
            if (offset >= end or room_bytes < 0) and (count or self._passing):
                break
            count += 1
        if count == len(batch):
            return batch
        return RecordBatch(
            batch.tp,
            batch.start,
            batch.offsets[count],
            batch.offsets[:count],
            batch.timestamps[:count],
            batch.keys[:count],
            batch.values[:count],
            batch.headers[:count],
        )

    def _take_in(self, batch: RecordBatch, decoded: Decoded) -> int:
        """Judge every record that is not finished, in log order. Returns how many are bad."""
        bad = {found.position: found for found in decoded.bad}
        events = iter(decoded.events)
        for row, offset in enumerate(batch.offsets):
            found = bad.get(row)
            event = next(events) if found is None else None
            if offset in self.finished:
                continue
            if found is not None:
                self._refuse(row, found.code, found.message, "decode", self._tenant(row))
            else:
                self._judge(row, self._request(row, event))
        return len(bad)

    def _request(self, row: int, event: Any) -> _Request:
        assert self._batch is not None
        ask = self._jobs.ask(event)
        offset, append_ms = self._batch.offsets[row], self._batch.timestamps[row]
        identity = identity_of(ask.tenant, ask.key)
        return _Request(offset, append_ms, self._batch.keys[row], event, ask, identity)

    def _judge(self, row: int, request: _Request) -> None:
        """J2: by the first request of its key, if that is remembered or still runs."""
        running = self._running.get(request.identity, [])
        known = self.outcomes.before(request.identity, request.offset)
        first = running[-1] if running else None
        if first is not None and (known is None or first.offset > known.offset):
            append_ms, payload = first.append_ms, first.ask.payload
        elif known is not None:
            append_ms, payload, first = known.append_ms, known.payload, None
        else:
            self._begin(request)
            return
        if request.append_ms - append_ms > self.state.context.settings.dedupe_ttl_s * 1000:
            self._begin(request)
        elif payload != request.ask.payload:
            self._refuse_conflict(row, request)
        elif first is not None:
            first.waiting.append(request)
        elif known is not None:
            self._give(self._answer(request, _decode(known.body), DUPLICATE))

    def _refuse_conflict(self, row: int, request: _Request) -> None:
        self.dead_letter(
            row,
            IdempotencyConflict.code,
            f"idempotency_key {request.ask.key!r} came before with another payload within "
            f"DIA_DEDUPE_TTL_S",
            request.ask.tenant,
        )

    def _count_dead(self, row: int, code: str) -> None:
        assert self._batch is not None
        self.finished.finish(self._batch.offsets[row], code)

    # --- J3, J4 ------------------------------------------------------------------------------

    def _begin(self, request: _Request) -> None:
        self._running.setdefault(request.identity, []).append(request)
        if request.ask.cancels is not None:
            self._cancel(request, request.ask.cancels)
            return
        done = partial(self._done, request)
        request.work = Work(self, request.event, request.ask, done)
        self._dispatcher.submit(request.work)

    def _cancel(self, request: _Request, key: str) -> None:
        """End the running request of ``key``; both are answered in the same commit."""
        running = self._running.get(identity_of(request.ask.tenant, key), ())
        work = next((other.work for other in reversed(running) if other.work is not None), None)
        if work is not None:
            self._dispatcher.cancel(work)
        now_ms = self.clock.now_ms()
        summary = {"cancelled": work is not None}
        self._finished(request, Outcome("completed", summary, "", "", now_ms, now_ms))

    def _done(self, request: _Request, outcome: Outcome) -> None:
        """The dispatcher's answer; what the agent makes of it may have a bug."""
        try:
            self._finished(request, outcome)
        except Exception as error:
            log.exception("agent_failed", tp=str(self.tp), offset=request.offset)
            self.failure = AgentFailed(
                f"agent {self.agent.name} raised {error!r} on the outcome of offset "
                f"{request.offset} of {self.tp}. Fix it and restart the worker."
            )

    def _finished(self, request: _Request, outcome: Outcome) -> None:
        """J4: all that follows from one outcome belongs to one commit."""
        # Before anything changes: the agent's code may raise.
        answers = [self._answer(request, outcome, APPLIED)]
        answers += [self._answer(repeat, outcome, DUPLICATE) for repeat in request.waiting]
        running = self._running[request.identity]
        running.remove(request)
        if not running:
            del self._running[request.identity]
        ask, body = request.ask, _encode(outcome)
        self.outcomes.remember(
            Remembered(request.identity, ask.payload, request.offset, request.append_ms, body)
        )
        for answer in answers:
            self._give(answer)
        # Work knows its request: parted here, both are freed without the garbage collector.
        work, request.work = request.work, None
        if work is not None:
            performer = self._dispatcher.performer
            self._told.append(partial(performer.finished, request.event, outcome))
        self._pass()

    def _answer(self, request: _Request, outcome: Outcome, verdict: str) -> _Answered:
        place = Place(
            self.tp.partition, request.offset, request.append_ms, repeated=verdict == DUPLICATE
        )
        return _Answered(request, self._jobs.answer(request.event, outcome, place), verdict)

    def _give(self, answered: _Answered) -> None:
        request, answer, verdict = answered
        self.emit(OutboundRecord(self._results, request.key, answer.result))
        self.fact(answer.table, answer.row)
        self.finished.finish(request.offset, verdict)

    # --- J5 ----------------------------------------------------------------------------------

    def _pass(self) -> None:
        """Move the prefix over every contiguous finished request."""
        progress, passed = self.progress, 0
        while self._passing and (verdict := self.finished.take(self._passing[0].offset)):
            offset, append_ms, size_bytes = self._passing.popleft()
            self._passing_bytes -= size_bytes
            passed += 1
            progress.last_offset, progress.last_append_ms = offset, append_ms
            if verdict == APPLIED:
                progress.applied += 1
            elif verdict == DUPLICATE:
                progress.duplicates += 1
            else:
                progress.dead_by_code[verdict] += 1
        prefix = self._passing[0].offset if self._passing else self._position
        progress.read += passed
        progress.gaps += prefix - progress.fold_offset - passed
        progress.fold_offset = prefix
        self.outcomes.passed(progress.last_append_ms)

    def _take_told(self) -> list[Callable[[], None]]:
        told, self._told = self._told, []
        return told


def identity_of(tenant: str, key: str) -> bytes:
    """128 bits that stand for a tenant's idempotency key."""
    return xxh3_128_digest(f"{tenant}\0{key}".encode(errors="surrogatepass"))
