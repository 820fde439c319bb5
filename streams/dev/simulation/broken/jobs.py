"""Job engines with one defect each (streams/dev/simulation/broken/variants.py)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import msgspec

from streams.core.records.bad_records import UnknownTable
from streams.core.rows.clickhouse_table import ClickHouseTable
from streams.core.rows.targets import RowTarget, Targets
from streams.core.types import RecordBatch
from streams.dev.simulation.broken.clocks import BROKEN_JOB_CLOCKS
from streams.dev.simulation.variant import Variant, replaced
from streams.engine.agents.job_agent import Outcome
from streams.engine.decode.codecs import Decoded
from streams.engine.runtime.effects.refused_facts import RefusedFacts
from streams.engine.runtime.effects.refused_row import RefusedFact
from streams.engine.runtime.jobs.gates import Gates
from streams.engine.runtime.jobs.held_requests import HeldRequests
from streams.engine.runtime.jobs.job_partition import JobPartition
from streams.engine.runtime.jobs.requests import RunningRequests
from streams.engine.state.finished_offsets import FinishedOffsets
from streams.engine.state.outbox import Outbox
from streams.engine.state.outcomes import Outcomes, Remembered

_finish = FinishedOffsets.finish

_STEP_MS = 60_000


def _nothing_loaded(self: Any, items: Iterable[tuple[bytes, bytes]]) -> None:
    del self, items


def _not_rewritten(self: Outcomes, key: bytes, value: bytes) -> None:
    del self, key, value


@contextmanager
def _offset_runs_ahead() -> Iterator[None]:
    """Records count as finished when read."""
    real = JobPartition._pass

    def passed(self: JobPartition) -> None:
        for read in self._passing:
            if read.offset not in self.finished:
                self.finished.finish(read.offset, "applied")
        real(self)

    with (
        patch.object(JobPartition, "_pass", passed),
        patch.object(FinishedOffsets, "finish", _finished_again),
    ):
        yield


def _finished_again(self: FinishedOffsets, offset: int, verdict: str) -> None:
    if offset not in self:
        _finish(self, offset, verdict)


@contextmanager
def _repeats_run_too() -> Iterator[None]:
    """A repeat of a running key is treated as a new request."""
    real = JobPartition._judge

    def judge(self: JobPartition, row: int, request: Any) -> None:
        with patch.object(RunningRequests, "before", _none_runs):
            real(self, row, request)

    with patch.object(JobPartition, "_judge", judge):
        yield


def _none_runs(self: RunningRequests, request: Any) -> None:
    del self, request


@contextmanager
def _failures_remembered() -> Iterator[None]:
    """The outcome of a transient failure is stored for its key."""
    real = JobPartition._settle

    def settle(self: JobPartition, end: Any) -> None:
        request, given_up = end.request, end.given_up
        if given_up is not None:
            body = msgspec.msgpack.encode(end.outcome)
            tenant, key = request.identity
            place = request.offset, request.append_ms, request.log_ms
            row = Remembered(tenant, key, request.ask.payload, *place, body)
            self.outcomes.remember(row)
        real(self, end)

    with patch.object(JobPartition, "_settle", settle):
        yield


def _not_buried(self: JobPartition, answered: Any, given_up: Any) -> None:
    """A given-up request is answered and counted, without a dead letter."""
    del given_up
    self._give(answered._replace(verdict="retries_exhausted"))


@contextmanager
def _neighbours_read() -> Iterator[None]:
    """A request that is read again is taken from the next record."""
    real = HeldRequests._hold_again

    def hold_again(self: HeldRequests, wanted: Any, batch: RecordBatch, decoded: Decoded) -> None:
        if len(batch) > 1:
            batch.values[0], batch.values[1] = batch.values[1], batch.values[0]
            batch.keys[0], batch.keys[1] = batch.keys[1], batch.keys[0]
        if len(decoded.events) > 1:
            first, second, *rest = decoded.events
            decoded.events = [second, first, *rest]
        real(self, wanted, batch, decoded)

    with patch.object(HeldRequests, "_hold_again", hold_again):
        yield


@contextmanager
def _cancellers_first() -> Iterator[None]:
    """A cancellation is answered at once, even where the cancelled request must be read again."""
    real = JobPartition._cancel

    def cancel(self: JobPartition, request: Any, key: str) -> None:
        running = self._firsts.running.of((request.ask.tenant, key))
        work = next((other for other in running if other.ask.cancels is None), None)
        if work is None or work.event is not None:
            real(self, request, key)
            return
        now_ms = self.clock.now_ms()
        outcome = Outcome("completed", {"cancelled": True}, "", "", now_ms, now_ms)
        self._finished(request, outcome, None)
        self._dispatcher.cancel(work)

    with patch.object(JobPartition, "_cancel", cancel):
        yield


def _stays_shut(self: Gates, work: Any, needs: tuple[str, ...], answered: tuple[str, ...]) -> None:
    """Work that probes a need does not report the answer."""
    del work, answered
    for need in needs:
        self._asking[need] -= 1


def _forgotten_in_time(self: Outcomes, horizon_ms: int) -> None:
    """Outcomes expire after half of the time in which a key may repeat."""
    self._horizon_ms = horizon_ms + _STEP_MS + self._ttl_ms // 2


def _facts_unburied(self: RefusedFacts, outbox: Outbox) -> list[RefusedFact]:
    effects, self._effects = self._effects, []
    for key, seq, _ in effects:
        outbox.acknowledged(key, seq)
    return []


_fitted = Targets.fitted


def _undeclared_table_accepted(
    self: Targets, target: str | RowTarget, row: Mapping[str, Any], name: str | None = None
) -> tuple[RowTarget, dict[str, Any]]:
    """An undeclared table is accepted."""
    try:
        return _fitted(self, target, row, name)
    except UnknownTable:
        table = target if isinstance(target, str) else target.name
        made = ClickHouseTable(
            name=table, columns={"tenant": str}, order_by=("tenant",), shard_by=("tenant",)
        )
        return made, dict(row)


VARIANTS: Mapping[str, Variant] = {
    "offset_ahead_of_the_prefix": _offset_runs_ahead,
    "finished_offsets_not_restored": replaced(FinishedOffsets, load=_nothing_loaded),
    "outcomes_not_restored": replaced(Outcomes, load=_nothing_loaded, rewrite=_not_rewritten),
    "repeats_of_running_keys_run": _repeats_run_too,
    "refused_facts_forgotten": replaced(RefusedFacts, settle=_facts_unburied),
    "transient_failures_remembered": _failures_remembered,
    "given_up_without_a_dead_letter": replaced(JobPartition, _give_up=_not_buried),
    "the_record_behind_is_read": _neighbours_read,
    "cancellers_answered_first": _cancellers_first,
    "gates_stay_shut": replaced(Gates, release=_stays_shut),
    "unknown_tables_owed": replaced(Targets, fitted=_undeclared_table_accepted),
    **BROKEN_JOB_CLOCKS,
    "outcomes_expire_early": replaced(Outcomes, passed=_forgotten_in_time),
}
"""By name, the defect."""
