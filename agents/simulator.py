"""The work of `simulate_decision`: look up the scenario, read its history, run it in the pool."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xxhash import xxh3_64_intdigest

from schemas.simulation import SimulationRequest
from streams import Outcome, QueuePolicy, Resources
from streams.connect.policy.policy import PolicyRequest
from streams.connect.policy.validator import PolicyValidator
from streams.core.errors import (
    JobRefused,
    PolicyServiceFailed,
    PolicyServiceUnavailable,
    TransientError,
)
from streams.core.job_refusals import (
    InvalidParameters,
    PolicyRejected,
    SimulationFailed,
    UnknownScenario,
)
from streams.core.records.bad_records import RetriesExhausted
from streams.engine.pool.pool import JobPool
from streams.engine.pool.processes import ProcessPool
from streams.engine.scenarios import job
from streams.engine.scenarios.history import History
from streams.engine.scenarios.hook_calls import HookCalls
from streams.engine.scenarios.parameters import parameters
from streams.engine.scenarios.scenario import CANCEL, HistoryQuery, Scenario, no_history

if TYPE_CHECKING:
    from streams.connect.sinks.minutes import MinuteReader

POLICY_SERVICE = "policy_service"
"""The need of every request that names a policy."""

_UNKNOWN_QUEUE = QueuePolicy()
_REFUSALS: dict[str, type[JobRefused]] = {
    error.code: error for error in (InvalidParameters, UnknownScenario)
}
_SLOTS_PER_PROCESS = 2
"""Started work waits at the pool for no longer than one job takes, so that no process idles while
the event loop is busy with commits."""


@dataclass(eq=False)
class Simulator:
    """The `Performer` of one process."""

    _scenarios: Mapping[str, Scenario[Any]]
    _pool: JobPool
    _minutes: MinuteReader
    _policies: PolicyValidator
    _hooks: HookCalls

    @classmethod
    def of(cls, scenarios: Mapping[str, Scenario[Any]], resources: Resources) -> Simulator:
        """With real processes, which are started when the first request comes."""
        # The client of ClickHouse: a third of the time that importing the app would take.
        from streams.connect.sinks.minutes import MinuteReader

        settings, clock = resources.settings, resources.clock
        most = settings.pool_processes or os.cpu_count() or 1
        pool = ProcessPool(
            job.ENTRY,
            size=most,
            least=min(settings.pool_processes_min or most, most),
            recycle_jobs=settings.pool_recycle_jobs,
            memory_bytes=settings.pool_memory_bytes,
            clock=clock,
        )
        resources.metrics.jobs.processes.set_function(lambda: pool.size)
        policies = PolicyValidator.from_settings(
            settings, clock, resources.metrics, resources.layer
        )
        minutes = MinuteReader(settings, clock, resources.metrics)
        return cls(scenarios, pool, minutes, policies, HookCalls(resources.metrics))

    @property
    def slots(self) -> int:
        return self._pool.size * _SLOTS_PER_PROCESS

    def told_waiting(self, jobs: int) -> None:
        self._pool.told_waiting(jobs)

    def queue(self, name: str) -> QueuePolicy:
        chosen = self._scenarios.get(name)
        return chosen.queue if chosen is not None else _UNKNOWN_QUEUE

    def needs(self, event: SimulationRequest) -> tuple[str, ...]:
        needs: tuple[str, ...] = ()
        if event.policy_id is not None:
            needs = (POLICY_SERVICE, _policy_need(event))
        if not self._reads_history(event):
            return needs
        try:
            query = _history_query(self._scenario(event), event)
        except Exception:  # noqa: BLE001 - `prepare` meets it again, and makes it the answer
            return needs
        if query is not None:
            shard = self._minutes.shard_of(event.tenant_id, event.model_id, query.metric)
            needs += (_shard_need(shard),)
        return needs

    async def prepare(self, event: SimulationRequest) -> bytes:
        """The job, encoded: parameters are checked, the policy allows it, its history is read."""
        chosen = self._scenario(event)
        query = _history_query(chosen, event)
        await self._allowed(event)
        work = job.SimulationJob(
            module=chosen.module,
            scenario=event.scenario,
            parameters=event.parameters,
            trials=event.trials,
            seed=_seed(event),
            history=await self._history(event, query) if query is not None else None,
        )
        try:
            return job.encode_job(work)
        except OverflowError as error:
            raise InvalidParameters("parameters hold an integer beyond 64 bits.") from error

    async def perform(
        self, event: SimulationRequest, prepared: bytes, timeout_s: float
    ) -> dict[str, Any]:
        raw = await self._pool.run(prepared, timeout_s)
        if len(raw) > job.SUMMARY_MAX_BYTES:
            raise SimulationFailed(
                f"the summary has {len(raw)} bytes, at most {job.SUMMARY_MAX_BYTES}."
            )
        answer = job.decode_answer(raw)
        if answer.code:
            raise _REFUSALS.get(answer.code, SimulationFailed)(answer.message)
        return answer.summary

    def _scenario(self, event: SimulationRequest) -> Scenario[Any]:
        """Raises `UnknownScenario` naming those there are, `InvalidParameters` for a cancellation
        without a key."""
        if event.scenario == CANCEL:
            raise InvalidParameters(
                "scenario cancel needs parameters.idempotency_key, the key of what to cancel."
            )
        try:
            return self._scenarios[event.scenario]
        except KeyError:
            known = ", ".join(self._scenarios)
            raise UnknownScenario(f"no scenario {event.scenario!r}; there are: {known}.") from None

    def _reads_history(self, event: SimulationRequest) -> bool:
        chosen = self._scenarios.get(event.scenario)
        return chosen is not None and chosen.history is not no_history

    async def _allowed(self, event: SimulationRequest) -> None:
        """Raises `PolicyRejected`, `PolicyServiceUnavailable` or `PolicyServiceFailed`."""
        need = _policy_need(event)
        if event.policy_id is None:
            return
        question = PolicyRequest(
            tenant_id=event.tenant_id,
            policy_id=event.policy_id,
            model_id=event.model_id,
            scenario=event.scenario,
            trials=event.trials,
        )
        try:
            await self._policies.check(question)
        except PolicyRejected as error:
            error.need = need
            raise
        except PolicyServiceUnavailable as error:
            error.need = POLICY_SERVICE
            raise
        except RetriesExhausted as error:
            # The service answers about other policies: only requests under this one wait.
            failed = PolicyServiceFailed(f"{need}: {error}")
            failed.need = need
            raise failed from error

    async def _history(self, event: SimulationRequest, query: HistoryQuery) -> History:
        stop_s = event.ts // 60_000 * 60 + 60
        start_s = stop_s - 60 * query.minutes
        series = (event.tenant_id, event.model_id, query.metric)
        try:
            minutes = await self._minutes.read(*series, start_s, stop_s)
        except TransientError as error:
            error.need = _shard_need(self._minutes.shard_of(*series))
            raise
        return History(
            start_s=[minute.start_s for minute in minutes],
            counts_n=[minute.n for minute in minutes],
            sums=[minute.total for minute in minutes],
            codes=[minute.codes for minute in minutes],
            counts=[minute.counts for minute in minutes],
        )

    def finished(self, event: SimulationRequest, outcome: Outcome) -> None:
        """The scenario's hook, in a thread, with what the result record says."""
        chosen = self._scenarios.get(event.scenario)
        if chosen is None:
            return
        hook = chosen.on_completed if outcome.status == "completed" else chosen.on_failed
        if hook is not None:
            result = {
                "tenant_id": event.tenant_id,
                "idempotency_key": event.idempotency_key,
                "request_id": event.request_id,
                "status": outcome.status,
                "summary": outcome.summary,
                "error_code": outcome.code,
            }
            self._hooks.call(event.scenario, hook, result)

    async def close(self) -> None:
        await self._hooks.close()
        await self._pool.close()
        await self._policies.close()
        await self._minutes.close()


def _history_query(chosen: Scenario[Any], event: SimulationRequest) -> HistoryQuery | None:
    """The windows that the request asks for. Raises `InvalidParameters`."""
    return chosen.history(parameters(chosen, event.parameters))


def _policy_need(event: SimulationRequest) -> str:
    return f"policy {event.tenant_id}/{event.policy_id}"


def _shard_need(shard: int) -> str:
    return f"shard {shard}"


def _seed(event: SimulationRequest) -> int:
    """The request's, or one that any run of the same request comes to again. A tenant that chooses its
    key chooses it, as by ``seed``: this hash has no secret to keep."""
    if event.seed is not None:
        return event.seed % (1 << 64)
    return xxh3_64_intdigest(f"{event.tenant_id}\0{event.idempotency_key}".encode())
