"""Policies: what they refuse, and their source without a policy service."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from streams.connect.cache.kind import owned
from streams.connect.policy.policy import Policy, PolicyRequest, refusal
from streams.connect.policy.source import LocalPolicies
from streams.connect.policy.validator import PolicyValidator, policy_cache
from streams.core.clock import VirtualClock, settle
from streams.core.errors import UsageError
from streams.core.job_refusals import PolicyRejected
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics

ASKED = PolicyRequest(tenant_id="t", policy_id="p", model_id="m", scenario="s", trials=100)


def _policy(**limits: object) -> Policy:
    return Policy(tenant_id="t", policy_id="p", **limits)


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        (_policy(), None),
        (_policy(models=["m"], scenarios=["s"], max_trials=100), None),
        (_policy(active=False), "is not active"),
        (_policy(models=["other"]), "model 'm'"),
        (_policy(scenarios=[]), "scenario 's'"),
        (_policy(max_trials=99), "99 trials, 100 were requested"),
    ],
)
def test_a_refusal_names_the_violated_limit(policy, why):
    """The sentence reaches the client in the result record."""
    said = refusal(policy, ASKED)
    assert said is None if why is None else why in said


def _validator(path: str) -> PolicyValidator:
    settings = Settings(policy_file=path)
    return PolicyValidator.from_settings(settings, VirtualClock(), Metrics(), None)


async def test_a_file_replaces_the_service(tmp_path):
    """A single machine needs no service to limit its work."""
    path = tmp_path / "policies.json"
    path.write_text('{"policies": [{"tenant_id": "t", "policy_id": "p", "max_trials": 100}]}')
    validator = _validator(str(path))
    await validator.check(ASKED)
    with pytest.raises(PolicyRejected, match="has no policy"):
        await validator.check(PolicyRequest(**{**_fields(ASKED), "tenant_id": "u"}))
    await validator.close()


def _fields(question: PolicyRequest) -> dict[str, object]:
    return {name: getattr(question, name) for name in question.__struct_fields__}


async def test_a_changed_file_is_read_again_and_a_broken_one_changes_nothing(tmp_path):
    """A file that an editor has half written must not withdraw every policy."""
    path = tmp_path / "policies.json"
    path.write_text('{"policies": [{"tenant_id": "t", "policy_id": "p", "max_trials": 9}]}')
    policies = LocalPolicies(str(path))
    assert (await policies.fetch("t", "p")).max_trials == 9
    path.write_text('{"policies": [{"tenant_id": "t"')
    assert (await policies.fetch("t", "p")).max_trials == 9
    path.write_text('{"policies": [{"tenant_id": "t", "policy_id": "p", "max_trials": 100}]}')
    assert (await policies.fetch("t", "p")).max_trials == 100


async def test_an_invalid_file_is_logged_once(tmp_path):
    """One log line for each fault, not one for each request."""
    path = tmp_path / "policies.json"
    path.write_text('{"policies": []}')
    policies = LocalPolicies(str(path))
    path.write_text("{")
    with capture_logs() as logged:
        await policies.fetch("t", "p")
        await policies.fetch("t", "p")
    assert [entry["event"] for entry in logged] == ["policy_file_unusable"]


async def test_without_any_source_no_policy_exists():
    """An unavailable policy must not count as permission."""
    with pytest.raises(PolicyRejected):
        await _validator("").check(ASKED)


@pytest.mark.parametrize("content", [None, "{", '{"policies": [{"tenant_id": 5}]}'])
def test_an_invalid_file_is_refused_at_the_start(tmp_path, content):
    """A worker that starts with a typing error would reject every request."""
    path = tmp_path / "policies.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match="DIA_POLICY_FILE"):
        _validator(str(path))


def test_tenants_do_not_share_cache_entries():
    """Tenant and policy names are free text: a plain concatenation would share entries between
    tenants.
    """
    assert owned("a", "b/c") != owned("a/b", "c")


async def test_a_validator_that_is_closed_leaves_no_question_behind():
    """A worker that drains would wait for a service that hangs."""

    class Hanging:
        async def fetch(self, tenant_id, policy_id):
            await asyncio.Event().wait()

        async def close(self):
            return None

    validator = PolicyValidator(Hanging(), policy_cache(VirtualClock(), Metrics(), None))
    asked = asyncio.ensure_future(validator.check(ASKED))
    await settle()
    assert not asked.done()
    await validator.close()
    await settle()
    assert asked.cancelled()
