"""Simulations of a tenant: results, waiting requests, and cancelling."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from streams.connect.access.refusals import BadRequest, UnknownResource
from streams.connect.access.request_rate import RequestRate
from streams.connect.access.tokens import Role
from streams.connect.cache.kind import SERIES
from streams.core.clock import Clock
from streams.core.errors import BrokerUnavailable
from streams.core.records.fields import Name
from streams.core.types import Broker
from streams.engine.agents.job_agent import JobAgent
from streams.engine.app.app import App
from streams.engine.scenarios.scenario import CANCEL
from streams.http.console import parameters, reply
from streams.http.console.access.authorizer import Authorizer, Principal
from streams.http.console.access.operations import Operations
from streams.http.console.parameters import Parameters
from streams.http.console.pipeline.workers import Workers
from streams.http.console.response_cache import QueryKey, ResponseCache
from streams.http.console.shards import ShardReader
from streams.http.console.waiting import WaitingRequests

LISTED: Final = 100
LISTED_MAX: Final = 500
REQUESTS_MAX: Final = 60
"""Requests that one owner sends within a minute: they pass no edge and none of its quotas."""
TRIALS_MAX: Final = 1_000_000_000
PRIORITY_MAX: Final = 9
_REQUEST: Final = frozenset(
    {
        *("request_id", "idempotency_key", "tenant_id", "model_id", "scenario", "priority"),
        *("trials", "parameters", "ts"),
    }
)
"""Fields of a request to cancel, as the built-in app declares it; an app's own type may have more, with defaults."""

_Status = Literal["", "completed", "rejected", "failed", "cancelled"]
_FIELDS = (
    *("idempotency_key", "request_id", "model", "policy", "scenario", "priority", "trials"),
    *("status", "repeated", "error_code", "error_message", "summary"),
    *("requested_ms", "started_ms", "finished_ms"),
)
_SQL = """
SELECT
    idempotency_key, request_id, model, policy, scenario, priority, trials,
    status, repeated, error_code, error_message, summary,
    toUnixTimestamp64Milli(requested) AS requested_ms, toUnixTimestamp64Milli(started),
    toUnixTimestamp64Milli(finished)
FROM simulations_local FINAL
WHERE tenant = {tenant:String}
    AND ({status:String} = '' OR status = {status:String})
    AND ({scenario:String} = '' OR scenario = {scenario:String})
    AND ({key:String} = '' OR idempotency_key = {key:String})
    AND ({before_ms:UInt64} = 0 OR requested < fromUnixTimestamp64Milli({before_ms:UInt64}, 'UTC'))
ORDER BY requested_ms DESC, idempotency_key, part, off
LIMIT {limit:UInt32}
"""


class _Ask(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """``idempotency_key`` None: a new one."""

    model_id: Name
    scenario: Name
    parameters: dict[str, Any]
    trials: Annotated[int, Meta(ge=1, le=TRIALS_MAX)]
    priority: Annotated[int, Meta(ge=0, le=PRIORITY_MAX)] = 4
    policy_id: Name | None = None
    idempotency_key: Name | None = None
    tenant: Name | None = None


class _Cancel(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    idempotency_key: Name
    model_id: Name
    tenant: Name | None = None


def simulation_agent(app: App) -> JobAgent[Any] | None:
    """The one whose requests have the fields of a simulation; None where ``app`` has no such agent."""
    agents = (agent for agent in app.agents.values() if isinstance(agent, JobAgent))
    return next((agent for agent in agents if _fields(agent.source.type) >= _REQUEST), None)


def _fields(event_type: Any) -> frozenset[str]:
    return frozenset(getattr(event_type, "__struct_fields__", ()))


@dataclass(eq=False)
class SimulationHandler:
    """GET and POST /api/simulations, POST /api/simulations/cancel. ``agent`` None: the app has no
    simulations."""

    _gate: Authorizer
    _agent: JobAgent[Any] | None
    _shards: ShardReader
    _answers: ResponseCache
    _workers: Workers
    _waiting: WaitingRequests
    _broker: Broker
    _operations: Operations
    _clock: Clock

    def __post_init__(self) -> None:
        self._asked = RequestRate(self._clock, limit=REQUESTS_MAX, period_s=60.0)

    async def listed(self, request: Request) -> Response:
        holder, given = self._gate.holder(request, Role.READ), Parameters(request)
        self._simulated()
        tenant = holder.tenant(given.tenant())
        limit = given.number("limit", LISTED, 1, LISTED_MAX)
        asked = {
            "status": given.choice("status", _Status, ""),
            "scenario": given.optional("scenario") or "",
            "key": given.optional("key") or "",
            "before_ms": given.number("before_ms", 0, 0, parameters.TIME_MAX_S * 1000),
            "limit": limit,
        }

        async def load() -> dict[str, Any]:
            rows, queue, waiting = await asyncio.gather(
                self._shards.of_all(_SQL, {"tenant": tenant, **asked}),
                self._queue(holder),
                self._waiting_of(tenant),
            )
            found = sorted((_simulation(row) for row in rows), key=lambda one: -one["requested_ms"])
            return {
                "simulations": found[:limit],
                "queue": queue,
                "waiting": waiting,
            }

        everyone = holder.token.tenant is None
        question = QueryKey(SERIES, tenant, ("simulations", everyone, *asked.values()))
        return reply.json(request, await self._answers.get(question, load))

    async def ask(self, request: Request) -> Response:
        """One request more. What a scenario takes is checked where it runs: its result says ``rejected``."""
        holder = self._gate.holder(request, Role.OPERATE)
        agent = self._simulated()
        asked = await parameters.body(request, _Ask)
        tenant = holder.tenant(asked.tenant)
        if asked.scenario == CANCEL:
            raise BadRequest("a request is cancelled by POST /api/simulations/cancel")
        named = {} if asked.policy_id is None else {"policy_id": asked.policy_id}
        if not named.keys() <= _fields(agent.source.type):
            raise BadRequest("requests of this app name no policy")
        name = f"console-{secrets.token_hex(8)}"
        event = agent.source.type(
            request_id=name,
            idempotency_key=asked.idempotency_key or name,
            tenant_id=tenant,
            model_id=asked.model_id,
            scenario=asked.scenario,
            priority=asked.priority,
            trials=asked.trials,
            parameters=asked.parameters,
            ts=self._clock.now_ms(),
            **named,
        )
        self._asked.take(holder.owner)
        key = event.idempotency_key
        subject = {"tenant": tenant, "idempotency_key": key, "request": name}
        async with self._operations.noted(holder, "simulation_ask", subject):
            await self._send(agent.source.name, tenant, event)
        return reply.json(request, {"request_id": name, "idempotency_key": key}, 202)

    async def cancel(self, request: Request) -> Response:
        """Cancel by a new request, behind the earlier ones."""
        holder = self._gate.holder(request, Role.OPERATE)
        agent = self._simulated()
        asked = await parameters.body(request, _Cancel)
        tenant = holder.tenant(asked.tenant)
        name = f"cancel-{secrets.token_hex(8)}"
        event = agent.source.type(
            request_id=name,
            idempotency_key=name,
            tenant_id=tenant,
            model_id=asked.model_id,
            scenario=CANCEL,
            priority=PRIORITY_MAX,
            trials=1,
            parameters={"idempotency_key": asked.idempotency_key},
            ts=self._clock.now_ms(),
        )
        subject = {"tenant": tenant, "idempotency_key": asked.idempotency_key, "request": name}
        async with self._operations.noted(holder, "simulation_cancel", subject):
            await self._send(agent.source.name, tenant, event)
        told = {"request_id": name, "idempotency_key": asked.idempotency_key}
        return reply.json(request, told, 202)

    async def _send(self, topic: str, tenant: str, event: msgspec.Struct) -> None:
        producer = self._broker.plain_producer()
        try:
            await producer.start()
            key, value = tenant.encode(), msgspec.json.encode(event)
            await (await producer.send(topic, key, value))
        finally:
            await producer.close()

    def _simulated(self) -> JobAgent[Any]:
        """Raises `UnknownResource` in an app without simulations."""
        if self._agent is None:
            raise UnknownResource("this app has no simulations")
        return self._agent

    async def _waiting_of(self, tenant: str) -> dict[str, Any] | None:
        """None when Kafka does not answer."""
        try:
            return await self._waiting.of(tenant)
        except BrokerUnavailable:
            return None

    async def _queue(self, holder: Principal) -> dict[str, int] | None:
        """Waiting jobs of this host's workers over all tenants; None for a bound token."""
        if holder.token.tenant is not None:
            return None
        survey = await self._workers.survey()
        running = survey.total("jobs_running")
        if running is None:
            return None
        lanes = {lane: survey.total("jobs_waiting", lane=lane) or 0 for lane in ("high", "normal")}
        return {**{lane: round(count) for lane, count in lanes.items()}, "running": round(running)}


def _simulation(row: Sequence[Any]) -> dict[str, Any]:
    found = dict(zip(_FIELDS, row, strict=True))
    code, message = found.pop("error_code"), found.pop("error_message")
    return {
        **found,
        "repeated": bool(found["repeated"]),
        "summary": json.loads(found["summary"] or "{}"),
        "error": {"code": code, "message": message} if code else None,
    }
