"""decision.simulation.request -> one result each in decision.simulation.result and `simulations`.

In: `SimulationRequest`s, partitioned by tenant. State: the outcome of each idempotency key, and
which requests are finished. A repeat of a key is answered with the first one's summary, one with
another payload is a dead letter `idempotency_conflict`. What is asked is everything but
``request_id``, ``ts`` and ``priority``, which say who asks, when and how urgently.
"""

from __future__ import annotations

from hashlib import sha256
from sys import intern
from typing import Any, cast

import msgspec

from agents.clickhouse_tables import SIMULATIONS
from schemas.simulation import (
    SimulationError,
    SimulationRequest,
    SimulationResult,
    SimulationStatus,
)
from streams import Answer, Ask, Outcome, Place
from streams.engine.scenarios.scenario import CANCEL

_encode = msgspec.json.Encoder().encode
_canonical = msgspec.json.Encoder(order="deterministic").encode


def ask(request: SimulationRequest) -> Ask:
    """What of a request decides when it runs, and whether another is the same."""
    asked = (
        request.model_id,
        request.policy_id,
        request.scenario,
        request.trials,
        request.seed,
        request.parameters,
    )
    cancels = request.parameters.get("idempotency_key") if request.scenario == CANCEL else None
    return Ask(
        tenant=intern(request.tenant_id),
        key=request.idempotency_key,
        payload=sha256(_canonical(asked)).digest(),
        priority=request.priority,
        queue=intern(request.scenario),
        cancels=cancels if isinstance(cancels, str) else None,
    )


def answer(request: SimulationRequest, outcome: Outcome, place: Place) -> Answer:
    """The result of one request: its own id, its key's outcome."""
    error = SimulationError(code=outcome.code, message=outcome.message) if outcome.code else None
    result = SimulationResult(
        request_id=request.request_id,
        idempotency_key=request.idempotency_key,
        tenant_id=request.tenant_id,
        status=cast(SimulationStatus, outcome.status),
        summary=outcome.summary,
        error=error,
        started_ts=outcome.started_ms,
        finished_ts=outcome.finished_ms,
    )
    return Answer(_encode(result), SIMULATIONS.name, _row(request, outcome, place))


def _row(request: SimulationRequest, outcome: Outcome, place: Place) -> dict[str, Any]:
    return {
        "tenant": request.tenant_id,
        "idempotency_key": request.idempotency_key,
        "request_id": request.request_id,
        "model": request.model_id,
        "policy": request.policy_id or "",
        "scenario": request.scenario,
        "priority": request.priority,
        "trials": request.trials,
        "status": outcome.status,
        "repeated": int(place.repeated),
        "error_code": outcome.code,
        "error_message": outcome.message,
        "summary": _encode(outcome.summary).decode(),
        "requested": place.append_ms,
        "started": outcome.started_ms,
        "finished": outcome.finished_ms,
        "part": place.partition,
        "off": place.offset,
    }
