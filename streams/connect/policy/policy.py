"""A policy: what a tenant may have simulated. And the question asked of it."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from schemas.fields import Name

_MANY = 10_000


class Policy(Struct, frozen=True, kw_only=True):
    """``models`` and ``scenarios`` None: any. What is not named is not limited."""

    tenant_id: Name
    policy_id: Name
    active: bool = True
    models: Annotated[list[Name], Meta(max_length=_MANY)] | None = None
    scenarios: Annotated[list[Name], Meta(max_length=_MANY)] | None = None
    max_trials: Annotated[int, Meta(ge=0)] | None = None


class PolicyRequest(Struct, frozen=True, kw_only=True):
    """One thing somebody wants done under a policy."""

    tenant_id: str
    policy_id: str
    model_id: str
    scenario: str
    trials: int


def refusal(policy: Policy, question: PolicyRequest) -> str | None:
    """Why ``policy`` does not allow it, as a sentence; None when it does."""
    name = f"policy {policy.policy_id!r}"
    if not policy.active:
        return f"{name} is not active"
    if policy.models is not None and question.model_id not in policy.models:
        return f"{name} does not allow model {question.model_id!r}"
    if policy.scenarios is not None and question.scenario not in policy.scenarios:
        return f"{name} does not allow scenario {question.scenario!r}"
    if policy.max_trials is not None and question.trials > policy.max_trials:
        return f"{name} allows {policy.max_trials} trials, {question.trials} were asked for"
    return None
