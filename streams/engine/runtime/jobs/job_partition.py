"""An assigned partition of a job agent (docs/protocols/jobs.md).

 J1  read requests ahead, in log order                       `fold`
 J2  judge each by what the log holds before it              `_judge`
 J3  dispatch first requests; repeats of a running key wait  `_begin`
 J4  answer, remember and mark finished requests             `_finished`
 J5  move the prefix over contiguous finished offsets        `_pass`
 J6  after a crash, read from the prefix and skip marked offsets

`Partition.progress` covers the prefix only, so a link means the same as for other agents:
``next_offset`` is where reading continues, and the counters cover what is before it.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from functools import partial
from sys import intern
from typing import Any, Final

import msgspec
import structlog

from streams.core.clock import Clock
from streams.core.errors import AgentFailed, PartitionRestart
from streams.core.records.bad_records import (
    IdempotencyConflict,
    RowUnfit,
    TenantOverQuota,
    UnknownTable,
    ValueRefused,
)
from streams.core.records.framed_batch import timestamp_array
from streams.core.records.record_size import check_sendable
from streams.core.types import OutboundRecord, RecordBatch, TopicPartition
from streams.engine.agents.job_agent import JobAgent, Outcome, Place
from streams.engine.decode.codecs import Decoded, Limits, decode
from streams.engine.engine_tables import FINISHED_OFFSETS, OUTCOMES
from streams.engine.runtime.effects.dead_letters import Origin
from streams.engine.runtime.jobs.dispatcher import Dispatcher
from streams.engine.runtime.jobs.first_requests import FirstRequests
from streams.engine.runtime.jobs.held_requests import HeldRequests
from streams.engine.runtime.jobs.passing import Passing
from streams.engine.runtime.jobs.request_end import AnsweredRequest, RequestEnd
from streams.engine.runtime.jobs.request_log import RequestLog
from streams.engine.runtime.jobs.requests import Request, cancel_outcome, conflict, payload_of
from streams.engine.runtime.jobs.work import GivenUp, Known
from streams.engine.runtime.offsets.shed_order import ShedOrder
from streams.engine.runtime.partition.partition import Partition, Prepared
from streams.engine.runtime.restore.source_check import Reached
from streams.engine.runtime.restore.state import PartitionState
from streams.engine.state.finished_offsets import APPLIED, DUPLICATE, FinishedOffsets
from streams.engine.state.log_time import log_times
from streams.engine.state.outcomes import Outcomes, Remembered
from streams.engine.state.shares import Shares
from streams.engine.streams.sending import made_here

_WAITING_OVER_QUOTA: Final = (
    "the tenant has reached its share of the requests that wait in the partition "
    "(DIA_QUOTA_WAITING, DIA_MAX_WAITING)"
)
_SCARCE: Final = 8
"""a tenant is held when its free room is below 1/8 of its waiting requests"""
_POOL_OVER_QUOTA: Final = (
    "the tenant's simulations used more of this worker's pool within a minute than DIA_QUOTA_POOL_S"
)
_OUTCOMES_OVER_QUOTA: Final = (
    "the tenant has reached its share of the outcomes that the partition remembers "
    "(DIA_QUOTA_OUTCOME_BYTES, DIA_MAX_OUTCOME_BYTES); they are forgotten after DIA_DEDUPE_TTL_S"
)

log = structlog.get_logger(__name__)

_NO_OUTCOME: Final = Outcome("failed", {}, "", "", 0, 0)
"""of a conflict, which has no result"""
_CANCELS: Final = Known(_NO_OUTCOME)
"""of a cancellation that must be read again before it cancels"""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Outcome).decode


class JobPartition(Partition):
    """Also the `WorkOwner` of its requests."""

    def __init__(
        self,
        agent: JobAgent[Any],
        state: PartitionState,
        clock: Clock,
        dispatcher: Dispatcher,
        request_log: RequestLog,
        pass_until: int = 0,
        shard_map: Callable[[], str] = str,
    ) -> None:
        super().__init__(agent, state, clock, pass_until, shard_map)
        self._jobs = agent
        self._dispatcher = dispatcher
        self._position = self.progress.fold_offset
        self._log_time = self.progress.log_time
        """log time after the last record that was read"""
        self._passing = Passing()
        self._held = HeldRequests(
            self.tp,
            state.context.settings.max_ahead_bytes,
            state.context.epoch,
            request_log,
            self._decoded,
            self._log_lost,
        )
        self._told: list[Callable[[], None]] = []
        self._results = TopicPartition(agent.results.name, self.tp.partition)
        self.finished: FinishedOffsets = self.table(FINISHED_OFFSETS)
        self.outcomes: Outcomes = self.table(OUTCOMES)
        self._firsts = FirstRequests(self.outcomes)
        self._waiting = Shares(self.settings.max_waiting, self.settings.quota_waiting)

    @property
    def position(self) -> int:
        return self._position

    @property
    def reached(self) -> Reached:
        self._pass()
        if not self._passing:
            return super().reached
        return Reached(self._position, *self._passing.last)

    def shed(self, order: ShedOrder) -> None:
        self._pass()
        super().shed(order)
        self._position = max(self._position, self.progress.fold_offset)

    @property
    def folded(self) -> int:
        self._pass()
        return super().folded

    @property
    def fill(self) -> float:
        self._pass()
        ahead = self._position - self.progress.fold_offset
        return max(super().fill, ahead / self.settings.max_ahead)

    @property
    def waits_since_ms(self) -> int:
        self._pass()
        return self._passing.first.append_ms if self._passing else 0

    def behind_s(self, now_ms: int) -> float:
        return max(0, now_ms - since_ms) / 1000 if (since_ms := self.waits_since_ms) else 0.0

    @property
    def settled(self) -> bool:
        self._pass()
        return not self._passing and super().settled

    def settles(self, offset: int) -> bool:
        return super().settles(offset) or offset in self.finished

    def has_changes(self) -> bool:
        self._pass()
        return self.finished.changed or super().has_changes()

    def prepare(self, room: Sequence[int], spared: Container[int] = ()) -> Prepared:
        self._pass()
        return super().prepare(room, spared)

    def abandon(self) -> None:
        self._dispatcher.forget(self)

    # --- J1, J2 ------------------------------------------------------------------------------

    def fold(self, batch: RecordBatch) -> None:
        """J1. `position` tells how much of the batch was taken."""
        assert batch.start == self._position, "a batch may neither repeat nor skip"
        self._pass()
        batch = self._cut(batch)
        batch.to_lists()
        decoded = self._decode(batch) if len(batch) else None
        self._batch = batch
        self._position = batch.end
        if decoded is not None:
            self._passing.extend(batch.offsets, batch.timestamps)
            self._take_in(batch, decoded)
            self.poison.folded(batch, decoded.events)
        self._batch = None

    def _decoded(self, batch: RecordBatch) -> Decoded:
        settings = self.settings
        return decode(self.agent.source, batch, Limits(settings.future_max_s, settings.late_max_s))

    def _cut(self, batch: RecordBatch) -> RecordBatch:
        end = self.progress.fold_offset + self.settings.max_ahead
        count = 0
        for offset in batch.offsets:
            # The first request after the prefix is always taken, or the prefix would never move.
            if offset >= end and (count or self._passing):
                break
            count += 1
        return batch.head(count)

    def _take_in(self, batch: RecordBatch, decoded: Decoded) -> None:
        bad = {found.position: found for found in decoded.bad}
        events = iter(decoded.events)
        finished = self.finished.among(batch.offsets)
        times, self._log_time = log_times(self._log_time, timestamp_array(batch), self._expiry)
        log_ms, horizon_ms = times.at_ms.tolist(), times.horizon_ms.tolist()
        for row, offset in enumerate(batch.offsets):
            found = bad.get(row)
            event = next(events) if found is None else None
            if offset in finished:
                continue
            if found is not None:
                self._refuse(row, found.code, found.message, "decode", self._tenant(row))
            else:
                self._judge(row, self._request(row, event, log_ms[row], horizon_ms[row]))

    def _request(self, row: int, event: Any, log_ms: int, horizon_ms: int) -> Request:
        batch = self._batch
        assert batch is not None
        return Request(
            self,
            event,
            self._jobs.ask(event),
            tuple(map(intern, self._dispatcher.performer.needs(event))),
            offset=batch.offsets[row],
            append_ms=batch.timestamps[row],
            log_ms=log_ms,
            horizon_ms=horizon_ms,
            origin=Origin.of(batch, row, self.state.context.epoch),
        )

    def _judge(self, row: int, request: Request) -> None:
        """J2."""
        first = self._firsts.of(request)
        if (running := self._firsts.awaited(request, first)) is not None:
            if self._may_wait(request):
                self._held.take(request)
                running.wait(request)
        elif first is None:
            if request.ask.cancels is not None or self._may_wait(request):
                self._begin(request)
        elif isinstance(first, Remembered) and first.payload == request.ask.payload:
            self._give(self._answer(request, _decode(first.body), DUPLICATE))
        else:
            self.dead_letter(row, IdempotencyConflict.code, conflict(request), request.ask.tenant)

    def _may_wait(self, request: Request) -> bool:
        """Whether the tenant may have one more request waiting, with room for its outcome;
        otherwise answer and dead-letter it at once. Cancellations do not wait."""
        tenant, tenants = request.ask.tenant, self._dispatcher.tenants
        if (room := self._waiting.room(tenant)) * _SCARCE < self._waiting.held(tenant):
            tenants.hold(tenant, tenants.time_for(tenant, self._waiting.held(tenant) // _SCARCE))
        if not room:
            why = _WAITING_OVER_QUOTA
        elif wait_s := tenants.wait_s(tenant):
            tenants.hold(tenant, wait_s)
            why = _POOL_OVER_QUOTA
        elif not self.outcomes.room(tenant):
            why = _OUTCOMES_OVER_QUOTA
        else:
            self._waiting.take(tenant)
            request.waits = True
            return True
        outcome, given_up = self._over_quota(why)
        self._give_up(self._answer(request, outcome, given_up.code), given_up)
        return False

    def _over_quota(self, why: str) -> tuple[Outcome, GivenUp]:
        now_ms = self.clock.now_ms()
        outcome = Outcome("failed", {}, TenantOverQuota.code, why, now_ms, now_ms)
        return outcome, GivenUp(1, why, TenantOverQuota.code)

    def _let_go(self, request: Request) -> None:
        if request.waits:
            request.waits = False
            self._waiting.give_back(request.ask.tenant)
        self._held.let_go(request)

    def _judge_again(self, request: Request) -> None:
        """J2 for a request that waited for one that ended and is not its first. If it is not in
        memory, its answer follows once it is loaded."""
        first = self._firsts.of(request)
        if (running := self._firsts.awaited(request, first)) is not None:
            running.wait(request)
        elif first is None:
            self._begin(request)
        else:
            request.is_repeat = True
            request.is_conflict = payload_of(first) != request.ask.payload
            outcome = _decode(first.body) if isinstance(first, Remembered) else _NO_OUTCOME
            request.known = Known(outcome)
            self._dispatcher.submit(request)

    def _count_dead(self, row: int, code: str) -> None:
        assert self._batch is not None
        self.finished.finish(self._batch.offsets[row], code)

    # --- what is in memory -------------------------------------------------------------------

    async def load(self, work: Request) -> Any:
        return await self._held.load(work)

    def _log_lost(self, request: Request) -> None:
        """Reopen the partition: A4 or O1 checks its log."""
        why = f"the request at offset {request.offset} of {self.tp} cannot be read again"
        self.failure = PartitionRestart(why)

    # --- J3 ----------------------------------------------------------------------------------

    def _begin(self, request: Request) -> None:
        """Start a first request, also one that follows a given-up first."""
        self._firsts.running.add(request)
        if request.ask.cancels is not None:
            self._cancel(request, request.ask.cancels)
            return
        self._held.take(request)
        self._dispatcher.submit(request)

    def _cancel(self, request: Request, key: str) -> None:
        """End the running request of ``key``; one commit answers both."""
        if request.event is None:  # its answer needs the request in memory
            request.known = _CANCELS
            self._dispatcher.submit(request)
            return
        running = self._firsts.running.of((request.ask.tenant, key))
        work = next((other for other in running if other.ask.cancels is None), None)
        if work is None:
            self._finished(request, cancel_outcome(False, self.clock.now_ms()), None)
            return
        work.cancellers = [*(work.cancellers or ()), request]
        if work.known is None:
            self._dispatcher.cancel(work)

    def done(self, work: Request, outcome: Outcome, given_up: GivenUp | None) -> None:
        """Handle the dispatcher's outcome; a bug in the agent's code stops the partition."""
        if work.event is None:
            # The work ended before it began; its answer needs the request, which is loaded first.
            work.known = Known(outcome, given_up)
            self._dispatcher.submit(work)
            return
        try:
            if work.known is _CANCELS and work.ask.cancels is not None:
                work.known = None
                self._cancel(work, work.ask.cancels)
            else:
                self._finished(work, outcome, given_up)
        except Exception as error:
            log.exception("agent_failed", tp=str(self.tp), offset=work.offset)
            self.failure = AgentFailed(
                f"agent {self.agent.name} raised {error!r} on the outcome of offset "
                f"{work.offset} of {self.tp}. Fix it and restart the worker."
            )

    # --- J4 ----------------------------------------------------------------------------------

    def _finished(self, request: Request, outcome: Outcome, given_up: GivenUp | None) -> None:
        """J4: all effects of one outcome join one commit."""
        # The agent's code may raise, so make all answers before any change.
        kept: Remembered | None = None
        if given_up is None and not request.is_repeat and not request.is_conflict:
            kept = self._remembered(request, outcome)
            # A cancelled request must not become a dead letter: a replay would run it.
            if outcome.status != "cancelled" and not self._has_room(kept):
                outcome, given_up = self._over_quota(_OUTCOMES_OVER_QUOTA)
        ends = [self._end(request, outcome, given_up, kept)]
        if request.cancellers:
            cancelled = cancel_outcome(outcome.status == "cancelled", self.clock.now_ms())
            ends += [
                self._end(one, cancelled, None, self._remembered(one, cancelled))
                for one in request.cancellers
            ]
        for end in ends:
            self._settle(end)

    def _end(
        self,
        request: Request,
        outcome: Outcome,
        given_up: GivenUp | None,
        kept: Remembered | None,
    ) -> RequestEnd:
        verdict = DUPLICATE if request.is_repeat else APPLIED
        answers = [self._answer(request, outcome, verdict)]
        if given_up is None and request.repeats:
            answers += [
                self._answer(repeat, outcome, DUPLICATE)
                for repeat in request.repeats
                if repeat.event is not None and self._firsts.repeats(repeat, request)
            ]
        return RequestEnd(request, outcome, given_up, answers, kept)

    def _settle(self, end: RequestEnd) -> None:
        request, outcome, given_up, answers, kept = end
        if request.is_conflict:
            assert request.origin is not None
            code, tenant = IdempotencyConflict.code, request.ask.tenant
            self._bury(request.origin, code, conflict(request), "process", tenant)
            self.finished.finish(request.offset, code)
            self._let_go(request)
            return
        if request.is_repeat:
            self._give(answers[0])
            return
        self._firsts.running.remove(request)
        if request.ask.cancels is None:
            finished = self._dispatcher.performer.finished
            self._told.append(partial(finished, request.event, outcome))
        repeats, request.repeats = request.repeats or [], None
        if given_up is not None:
            # Not remembered: a transient failure is no outcome for the next request of the key.
            self._give_up(answers[0], given_up)
            for repeat in repeats:
                self._judge_again(repeat)
            return
        self._remember(outcome, kept)
        for answer in answers:
            self._give(answer)
        for repeat in repeats:
            if not self._firsts.repeats(repeat, request):
                self._judge_again(repeat)
            elif repeat not in self._held:
                repeat.is_repeat, repeat.known = True, Known(outcome)
                self._dispatcher.submit(repeat)

    def _remember(self, outcome: Outcome, kept: Remembered | None) -> None:
        if kept is not None and (outcome.status != "cancelled" or self._has_room(kept)):
            self.outcomes.remember(kept)

    def _has_room(self, row: Remembered) -> bool:
        return row.size_bytes <= self.outcomes.room(row.tenant)

    def _remembered(self, request: Request, outcome: Outcome) -> Remembered:
        ask = request.ask
        return Remembered(
            ask.tenant,
            ask.key,
            ask.payload,
            request.offset,
            request.append_ms,
            request.log_ms,
            _encode(outcome),
        )

    def _answer(self, request: Request, outcome: Outcome, verdict: str) -> AnsweredRequest:
        place = Place(
            self.tp.partition, request.offset, request.append_ms, repeated=verdict == DUPLICATE
        )
        return AnsweredRequest(request, self._jobs.answer(request.event, outcome, place), verdict)

    def _give(self, answered: AnsweredRequest) -> None:
        request, answer, verdict = answered
        assert request.origin is not None
        made = made_here(None, self.settings.region)
        result = OutboundRecord(self._results, request.origin.key, answer.result, made)
        try:
            check_sendable(result, self._jobs.results.message_bytes)
            self.fact(answer.table, answer.row)
        except (RowUnfit, UnknownTable, ValueRefused) as error:
            if verdict in (APPLIED, DUPLICATE):  # otherwise it is a dead letter already
                verdict, tenant = error.code, request.ask.tenant
                self._bury(request.origin, verdict, str(error), "process", tenant)
        else:
            self._records.append(result)
        self.finished.finish(request.offset, verdict)
        self._let_go(request)

    def _give_up(self, answered: AnsweredRequest, given_up: GivenUp) -> None:
        origin, tenant = answered.request.origin, answered.request.ask.tenant
        assert origin is not None
        code, message, attempts = given_up.code, given_up.message, given_up.attempts
        self._bury(origin, code, message, "process", tenant, attempts)
        self._give(answered._replace(verdict=code))

    # --- J5 ----------------------------------------------------------------------------------

    def _pass(self) -> None:
        """J5. For all requests that finished since the last call, before the prefix is used."""
        progress, passed = self.progress, 0
        if self._passing and self._passing.first.offset in self.finished:
            offsets = self._passing.offsets()  # a copy: of all that is ahead
            taken = self.finished.take(offsets)
            passed = taken.total()
            progress.last_offset, progress.last_append_ms = self._passing[passed - 1]
            append_ms = self._passing.drop(passed)
            self.history.intake.passed(offsets[:passed], append_ms)
            _, progress.log_time = log_times(progress.log_time, append_ms, self._expiry)
            progress.applied += taken.pop(APPLIED, 0)
            progress.duplicates += taken.pop(DUPLICATE, 0)
            progress.dead_by_code.update(taken)
        prefix = self._passing.first.offset if self._passing else self._position
        progress.read += passed
        progress.gaps += prefix - progress.fold_offset - passed
        progress.fold_offset = prefix
        self.outcomes.passed(progress.log_time.horizon_ms(self._expiry))

    def _take_told(self) -> list[Callable[[], None]]:
        told, self._told = self._told, []
        return told
