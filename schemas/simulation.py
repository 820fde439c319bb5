"""Simulations of decisions: what was asked, and what came of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from msgspec import Meta, Struct

from streams.core.records.fields import INT64_MAX, EventTimeMs, Name

PRIORITY_MAX = 9
TRIALS_MAX = 1_000_000_000

Priority: TypeAlias = Annotated[int, Meta(ge=0, le=PRIORITY_MAX)]
"""5 and above is high: such requests run first."""

SimulationStatus: TypeAlias = Literal["completed", "rejected", "failed", "cancelled"]


class SimulationRequest(Struct, frozen=True, gc=False, kw_only=True):
    """Run ``trials`` trials of a scenario. The same ``idempotency_key`` asks for the same work:
    with another payload it is refused."""

    request_id: Name
    idempotency_key: Name
    tenant_id: Name
    model_id: Name
    policy_id: Name | None = None
    scenario: Name
    priority: Priority
    trials: Annotated[int, Meta(ge=1, le=TRIALS_MAX)]
    seed: Annotated[int, Meta(ge=-INT64_MAX - 1, le=INT64_MAX)] | None = None
    parameters: dict[str, Any]
    ts: EventTimeMs


class SimulationError(Struct, frozen=True, gc=False, kw_only=True):
    """Why a simulation did not complete: a stable code, and a sentence for people."""

    code: Name
    message: str


class SimulationResult(Struct, frozen=True, gc=False, kw_only=True):
    """The outcome of one request; ``error`` is present unless it completed."""

    request_id: Name
    idempotency_key: Name
    tenant_id: Name
    status: SimulationStatus
    summary: dict[str, Any]
    error: SimulationError | None = None
    started_ts: EventTimeMs
    finished_ts: EventTimeMs
