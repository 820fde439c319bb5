"""GET /api/capacity and /api/capacity/forecast: figures of every tenant, for reading only."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from streams.connect.access.refusals import BadRequest
from streams.connect.access.tokens import Role
from streams.connect.cache.kind import OVERVIEW
from streams.core.clock import Clock
from streams.core.command_errors import HistoryTooShort
from streams.core.errors import TransientError, UsageError
from streams.core.settings import Settings
from streams.core.topics.topology import Topology
from streams.engine.health.host_scaling import HostScaling, ProcessChange, host_scaling
from streams.http.console import reply
from streams.http.console.access.authorizer import Authorizer
from streams.http.console.capacity.forecast_runs import ForecastRuns
from streams.http.console.capacity.process_counts import BEHIND, LIFETIMES, process_counts
from streams.http.console.capacity.process_counts import SPAN_S as COUNTED_S
from streams.http.console.capacity.utilisation import SPAN_S, USAGE, processes
from streams.http.console.parameters import Parameters
from streams.http.console.pipeline.workers import Workers, WorkerSamples
from streams.http.console.response_cache import QueryKey, ResponseCache
from streams.http.console.shards import Rows, ShardReader
from streams.operate.capacity.measured import MeasuredCosts, answered_costs
from streams.operate.capacity.plan import BUSY, CapacityPlan, Growth, capacity_plan
from streams.operate.loadtest.record import folder_of, newest
from streams.operate.topics.declared_topics import declared_topics

GROWTH: Final = "10%"
HORIZON_DAYS: Final = 90.0
DAYS: Final = 7
SOON_DAYS: Final = 30.0

_HOURS: Final = """
SELECT intDiv(toUnixTimestamp(w), 3600) * 3600 AS hour, sum(events)
FROM load_history_local FINAL
WHERE toUnixTimestamp(w) >= {since:Int64}
GROUP BY hour
"""


@dataclass(eq=False)
class CapacityHandler:
    """It covers every tenant, so a bound token is refused."""

    _gate: Authorizer
    _shards: ShardReader
    _answers: ResponseCache
    _settings: Settings
    _topology: Topology
    _clock: Clock
    _workers: Workers
    forecasts: ForecastRuns

    async def show(self, request: Request) -> Response:
        self._gate.holder(request, Role.ADMIN).require_everyone()
        asked = Parameters(request).name("growth", GROWTH)
        try:
            growth = Growth.of(asked)
            growth.factor(HORIZON_DAYS)
        except UsageError as error:
            raise BadRequest(str(error).replace("--", "")) from None
        question = QueryKey(OVERVIEW, "", ("capacity", asked))
        return reply.json(
            request, await self._answers.told(question, lambda: self._load(asked, growth))
        )

    async def forecast(self, request: Request) -> Response:
        self._gate.holder(request, Role.ADMIN).require_everyone()
        return reply.json(request, await self.forecasts.newest())

    async def _load(self, asked: str, growth: Growth) -> dict[str, Any]:
        """The last load test is of this host, so it is shown while shards are away."""
        test = await asyncio.to_thread(self._last_test)
        pools = _pools(await self._workers.survey())
        scaling = await asyncio.to_thread(host_scaling, self._settings.state_path())
        found = {
            "growth": asked,
            "horizon_days": HORIZON_DAYS,
            "busy": BUSY,
            "pools": pools,
            "scaling": None if scaling is None else _scaling(scaling),
            **test,
        }
        try:
            return {**found, **await self._of_shards(growth)}
        except TransientError:
            fields = ("load", "processes", "all_hosts", "needs", "advice")
            none: dict[str, Any] = dict.fromkeys(fields)
            return {**found, **none, "degraded": True, "plan_unknown": ""}

    async def _of_shards(self, growth: Growth) -> dict[str, Any]:
        now_s = self._clock.now_ms() // 1000
        hours, usage, lifetimes, behind = await asyncio.gather(
            self._shards.of_all(_HOURS, {"since": (now_s // 3600 - 24 * DAYS) * 3600}),
            self._shards.of_all(USAGE, {"since": now_s - SPAN_S}),
            self._shards.of_all(LIFETIMES, {"since": now_s - COUNTED_S}),
            self._shards.of_all(BEHIND, {"since": now_s - COUNTED_S}),
        )
        found = {
            "degraded": False,
            "load": _load_of(hours),
            "processes": processes(usage),
            "all_hosts": process_counts(lifetimes, behind, now_s),
        }
        try:
            costs = await answered_costs(self._ask, now_s, DAYS)
        except HistoryTooShort as error:
            return {**found, "needs": [], "advice": [], "plan_unknown": str(error)}
        declared = declared_topics(self._settings, self._topology)
        partitions = {source.name: source.partitions for source in declared.topology.topics}
        plan = capacity_plan(costs, growth, HORIZON_DAYS, partitions, declared.retention_s)
        needs = [asdict(one) for one in plan.needs]
        return {**found, "needs": needs, "advice": advice(plan, costs), "plan_unknown": ""}

    async def _ask(self, sql: str, parameters: Mapping[str, Any]) -> Sequence[Rows]:
        return [[row] for row in await self._shards.of_all(sql, parameters)]

    def _last_test(self) -> dict[str, Any]:
        """Of this installation's folder."""
        try:
            record = newest(folder_of(self._settings.home_path()))
        except OSError as error:
            return {"last_test": None, "last_test_unknown": f"cannot be read: {error.strerror}"}
        if record is None:
            return {"last_test": None, "last_test_unknown": ""}
        thresholds = [
            {**_fields(one), "held": one.held, "at_least": one.at_least}
            for one in record.thresholds
        ]
        test = {
            "run": record.run,
            "began_ms": record.began_ms,
            "held": record.held,
            "interrupted": record.interrupted,
            "requests": sum(flow.requests for flow in record.flows),
            "failed": sum(flow.failed for flow in record.flows),
            "thresholds": thresholds,
        }
        return {"last_test": test, "last_test_unknown": ""}


def _fields(one: Any) -> dict[str, Any]:
    return {name: getattr(one, name) for name in ("subject", "what", "target", "achieved", "unit")}


def _scaling(found: HostScaling) -> dict[str, Any]:
    bounds = {"processes": found.processes, "least": found.least, "most": found.most}
    return {**bounds, "changes": _newest(found.changes)}


def _newest(changes: Sequence[ProcessChange]) -> list[dict[str, Any]]:
    """Newest first."""
    return [msgspec.to_builtins(one) for one in reversed(changes)]


def _pools(survey: WorkerSamples) -> list[dict[str, Any]]:
    """Of each known worker that runs jobs: processes that its pool may use, and jobs that wait."""
    changes = {str(worker.slot): _newest(worker.pool_changes) for worker in survey.workers}
    waiting: dict[str, float] = {}
    for sample in survey.of("jobs_waiting"):
        waiting[sample.worker] = waiting.get(sample.worker, 0.0) + sample.value
    return [
        {
            "slot": one.worker,
            "processes": round(one.value),
            "waiting": round(waiting.get(one.worker, 0.0)),
            "changes": changes.get(one.worker, []),
        }
        for one in survey.of("jobs_processes")
        if one.value
    ]


def _load_of(rows: Rows) -> dict[str, Any]:
    """Events a second of each hour with events, of all shards."""
    events: dict[int, int] = {}
    for hour, count in rows:
        events[hour] = events.get(hour, 0) + count
    order = sorted(events)
    return {"t": order, "events_per_s": [round(events[hour] / 3600, 2) for hour in order]}


def advice(plan: CapacityPlan, costs: MeasuredCosts) -> list[dict[str, str]]:
    """What an operator may do, the most urgent first: ``tone`` is bad, warn or good."""
    found = []
    for need in plan.needs:
        if need.days_left is not None and need.days_left <= SOON_DAYS:
            text = f"{need.resource} run out in {need.days_left:.0f} days, by this growth."
            found.append({"tone": "bad" if need.days_left < 1 else "warn", "text": text})
    have, now = costs.processes, plan.processes_now
    if now > have:
        text = f"The load of now needs {now} worker processes with its margin; {have} run."
        found.insert(0, {"tone": "bad", "text": text})
    elif now < have:
        text = f"{have - now} worker processes fewer would hold the load of now, with its margin."
        found.append({"tone": "good", "text": text})
    if plan.processes > have:
        text = f"At the horizon {plan.processes} worker processes are needed; {have} run."
        found.append({"tone": "warn", "text": text})
    return found
