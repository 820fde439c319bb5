"""A policy limits the simulations of a tenant; a request is checked against it."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from streams.core.records.fields import Name

_MANY = 10_000


class Policy(Struct, frozen=True, kw_only=True):
    """``models`` and ``scenarios`` None: any. Fields without a value set no limit."""

    tenant_id: Name
    policy_id: Name
    active: bool = True
    models: Annotated[list[Name], Meta(max_length=_MANY)] | None = None
    scenarios: Annotated[list[Name], Meta(max_length=_MANY)] | None = None
    max_trials: Annotated[int, Meta(ge=0)] | None = None


class PolicyRequest(Struct, frozen=True, kw_only=True):
    tenant_id: str
    policy_id: str
    model_id: str
    scenario: str
    trials: int


def refusal(policy: Policy, question: PolicyRequest) -> str | None:
    """As a sentence; None when it is allowed."""
    name = f"policy {policy.policy_id!r}"
    if not policy.active:
        return f"{name} is not active"
    if policy.models is not None and question.model_id not in policy.models:
        return f"{name} does not allow model {question.model_id!r}"
    if policy.scenarios is not None and question.scenario not in policy.scenarios:
        return f"{name} does not allow scenario {question.scenario!r}"
    if policy.max_trials is not None and question.trials > policy.max_trials:
        return f"{name} allows {policy.max_trials} trials, {question.trials} were requested"
    return None
