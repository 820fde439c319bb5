"""The client of the policy service, against an HTTP service with scripted failures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable

import pytest

from streams.connect.policy.policy import Policy, PolicyRequest
from streams.connect.policy.service import BREAKER, PROBE, PolicyService
from streams.connect.policy.stub import StubPolicyService
from streams.connect.policy.validator import PolicyValidator, policy_cache
from streams.core.clock import VirtualClock
from streams.core.errors import PolicyServiceUnavailable
from streams.core.job_refusals import PolicyRejected
from streams.core.records.bad_records import RetriesExhausted
from streams.core.telemetry.metrics import Metrics

TIMEOUT_S, HURRIED_S = 60.0, 2.0
"""Timeout in seconds for a service that answers, and for one that hangs."""
POLICY = Policy(tenant_id="t", policy_id="p", scenarios=["monte_carlo"])


class HurriedClock(VirtualClock):
    """A clock that records sleeps instead of sleeping."""

    def __init__(self) -> None:
        super().__init__()
        self.slept: list[float] = []
        self.meanwhile: list[Awaitable[object]] = []

    async def sleep(self, delay_s: float) -> None:
        self.slept.append(delay_s)
        self._now_s += delay_s
        if self.meanwhile:
            await self.meanwhile.pop()


class Rig:
    def __init__(self, stub: StubPolicyService, timeout_s: float) -> None:
        self.stub = stub
        self.clock = HurriedClock()
        self.metrics = Metrics()
        self.service = PolicyService(
            stub.url, self.clock, self.metrics, timeout_s=timeout_s, token=lambda: "secret"
        )
        cache = policy_cache(self.clock, self.metrics, None)
        self.validator = PolicyValidator(self.service, cache)

    async def check(self, policy_id: str = "p", scenario: str = "monte_carlo") -> None:
        question = PolicyRequest(
            tenant_id="t", policy_id=policy_id, model_id="m", scenario=scenario, trials=1
        )
        await self.validator.check(question)


@pytest.fixture
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    """The parameter, if given, is the client's timeout."""
    timeout_s = getattr(request, "param", TIMEOUT_S)
    async with StubPolicyService() as stub:
        stub.policies.append(POLICY)
        rig = Rig(stub, timeout_s)
        yield rig
        await rig.validator.close()


async def test_one_request_answers_all_checks_of_a_policy(rig: Rig):
    """The client caches the policy, not the answer."""
    await rig.check()
    with pytest.raises(PolicyRejected, match="does not allow scenario 'other'"):
        await rig.check(scenario="other")
    assert rig.stub.tokens == ["Bearer secret"]


async def test_a_missing_policy_is_requested_once(rig: Rig):
    """A wrong id in a loop must not become load on the service."""
    for _ in range(3):
        with pytest.raises(PolicyRejected, match="has no policy 'q'"):
            await rig.check("q")
    assert rig.stub.requests == 1


@pytest.mark.parametrize(
    ("behaviour", "rig"),
    [
        ("error", TIMEOUT_S),
        ("garbage", TIMEOUT_S),
        ("other", TIMEOUT_S),
        ("hang", HURRIED_S),
    ],
    indirect=["rig"],
)
async def test_transient_failures_are_retried(rig: Rig, behaviour):
    """A restart of the service or a truncated body is not the caller's fault."""
    rig.stub.script += [behaviour, behaviour]
    await rig.check()
    assert rig.stub.asked.count("p") == 3
    assert [round(pause) for pause in rig.clock.slept] == [1, 2]


async def test_an_unavailable_service_is_no_verdict_on_the_policy(rig: Rig):
    """After four failures the breaker is still closed, yet the error is the service's."""
    rig.stub.down = True
    with pytest.raises(PolicyServiceUnavailable):
        await rig.check()
    assert rig.service.breaker.state == "closed"
    rig.stub.down = False
    await rig.check()


async def test_five_failures_in_a_row_open_the_breaker(rig: Rig):
    """An open breaker sends nothing; a later check finds the service again."""
    rig.stub.down = True
    for _ in range(3):
        with pytest.raises(PolicyServiceUnavailable):
            await rig.check()
    assert rig.stub.asked.count("p") == 5
    assert rig.service.breaker.state == "open"
    rig.stub.down = False
    left_s = rig.service.breaker.retry_after_s
    assert 28 < left_s < 30
    await rig.clock.advance(left_s - 0.1)
    with pytest.raises(PolicyServiceUnavailable, match=r"another 0\.1 s"):
        await rig.check()
    assert rig.stub.asked.count("p") == 5
    await rig.clock.advance(0.2)
    await rig.check()
    assert rig.service.breaker.state == "half_open"
    for policy_id in "ab":
        with pytest.raises(PolicyRejected):
            await rig.check(policy_id)
    assert rig.service.breaker.state == "closed"


async def test_one_answer_resets_the_count_of_failures(rig: Rig):
    """A service with four failures, one answer and four failures is flaky, but stays in use: only
    five failures in a row open the breaker."""
    rig.stub.down = True
    assert not await rig.service.answers()
    rig.stub.down = False
    assert await rig.service.answers()
    rig.stub.down = True
    assert not await rig.service.answers()
    assert rig.service.breaker.state == "closed"


async def test_the_service_counts_as_available_once_the_breaker_closed(rig: Rig):
    """Waiting replays would overload a service that has only just recovered."""
    assert await rig.service.answers()
    rig.stub.down = True
    assert [await rig.service.answers() for _ in range(3)] == [False, False, False]
    rig.stub.down = False
    assert not await rig.service.answers()
    await rig.clock.advance(BREAKER.open_s)
    assert [await rig.service.answers() for _ in range(3)] == [False, False, True]


@pytest.mark.parametrize("times", [1, 4])
async def test_a_policy_that_always_fails_is_given_up_even_if_no_other_is_requested(
    rig: Rig, times
):
    """The service answers a probe, so it is available: its breaker must stay closed however often
    this policy fails, else one tenant's policy blocks all tenants."""
    rig.stub.failing.add("broken")
    for _ in range(times):
        with pytest.raises(RetriesExhausted, match="answered 503"):
            await rig.check("broken")
    assert rig.stub.asked.count("broken") == 4 * times
    assert rig.service.breaker.state == "closed"
    await rig.check()


async def test_a_failing_policy_does_not_use_up_the_half_open_trials(rig: Rig):
    """The one call that a half-open breaker admits may concern a policy that always fails."""
    rig.stub.failing.add("broken")
    rig.stub.down = True
    for _ in range(2):
        with pytest.raises(PolicyServiceUnavailable):
            await rig.check()
    assert rig.service.breaker.state == "open"
    rig.stub.down = False
    await rig.clock.advance(BREAKER.open_s)
    with pytest.raises(RetriesExhausted):
        await rig.check("broken")
    assert rig.service.breaker.state == "closed"


async def test_names_are_quoted_in_the_url(rig: Rig):
    """A tenant may have any name: it must not become another path."""
    odd = "a/../b?c#d e"
    rig.stub.policies.append(Policy(tenant_id="t", policy_id=odd))
    await rig.check(odd)
    assert rig.stub.requests == 1


@pytest.mark.parametrize("rig", [HURRIED_S], indirect=True)
async def test_an_answer_about_another_policy_proves_that_the_service_is_available(rig: Rig):
    """Such a service gets no extra probe for each failure of one policy."""
    rig.stub.script.append("hang")
    hanging = asyncio.create_task(rig.check())
    async with asyncio.timeout(200):
        while "p" not in rig.stub.asked:  # noqa: ASYNC110 - the service is another one's code
            await asyncio.sleep(0)
    with pytest.raises(PolicyRejected, match="has no policy 'q'"):
        await rig.check("q")
    await hanging
    assert rig.stub.asked == ["p", "q", "p"]
    assert PROBE[1] not in rig.stub.asked
