"""The client of the policy service against a service over HTTP that fails as it is told."""

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
"""Of a service that answers, and of one that hangs."""
POLICY = Policy(tenant_id="t", policy_id="p", scenarios=["monte_carlo"])


class HurriedClock(VirtualClock):
    """Whoever sleeps has slept: the pauses are remembered instead."""

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
    """The client's timeout is the parameter, if there is one."""
    timeout_s = getattr(request, "param", TIMEOUT_S)
    async with StubPolicyService() as stub:
        stub.policies.append(POLICY)
        rig = Rig(stub, timeout_s)
        yield rig
        await rig.validator.close()


async def test_one_request_answers_every_question_about_a_policy(rig: Rig):
    """The policy is cached, not the answer: other questions cost nothing either."""
    await rig.check()
    with pytest.raises(PolicyRejected, match="does not allow scenario 'other'"):
        await rig.check(scenario="other")
    assert rig.stub.tokens == ["Bearer secret"]


async def test_a_policy_that_does_not_exist_is_asked_for_once(rig: Rig):
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
async def test_failures_in_passing_are_retried(rig: Rig, behaviour):
    """A restart of the service, or a body cut short, is nobody's fault."""
    rig.stub.script += [behaviour, behaviour]
    await rig.check()
    assert rig.stub.asked.count("p") == 3
    assert [round(pause) for pause in rig.clock.slept] == [1, 2]


async def test_a_service_that_is_away_makes_nobody_wrong(rig: Rig):
    """Four failures are not five: the breaker is closed still, and yet it is the service."""
    rig.stub.down = True
    with pytest.raises(PolicyServiceUnavailable):
        await rig.check()
    assert rig.service.breaker.state == "closed"
    rig.stub.down = False
    await rig.check()


async def test_five_failures_in_a_row_leave_the_service_alone(rig: Rig):
    """While it is open, nothing is sent; a question finds the service again."""
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


async def test_one_answer_forgets_the_failures_before_it(rig: Rig):
    """Four failures, an answer and four failures are a service that comes and goes: it stays in
    use. Only five in a row leave it alone."""
    rig.stub.down = True
    assert not await rig.service.answers()
    rig.stub.down = False
    assert await rig.service.answers()
    rig.stub.down = True
    assert not await rig.service.answers()
    assert rig.service.breaker.state == "closed"


async def test_it_can_be_relied_on_again_when_the_breaker_closed(rig: Rig):
    """What waits to be replayed would break a service that has only just come back."""
    assert await rig.service.answers()
    rig.stub.down = True
    assert [await rig.service.answers() for _ in range(3)] == [False, False, False]
    rig.stub.down = False
    assert not await rig.service.answers()
    await rig.clock.advance(BREAKER.open_s)
    assert [await rig.service.answers() for _ in range(3)] == [False, False, True]


@pytest.mark.parametrize("times", [1, 4])
async def test_one_policy_the_service_fails_on_is_given_up_also_where_no_other_is_asked(
    rig: Rig, times
):
    """The service answers a probe, so it is not away: its breaker must stay closed however often
    this policy fails, else one tenant's policy holds every tenant's simulations."""
    rig.stub.failing.add("broken")
    for _ in range(times):
        with pytest.raises(RetriesExhausted, match="answered 503"):
            await rig.check("broken")
    assert rig.stub.asked.count("broken") == 4 * times
    assert rig.service.breaker.state == "closed"
    await rig.check()


async def test_a_failing_policy_does_not_use_up_the_trials_of_a_service_that_is_back(rig: Rig):
    """Half-open, the one call that is let through may be about a policy that fails for good."""
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


async def test_names_are_quoted_on_their_way(rig: Rig):
    """A tenant may be called anything: its name must not become another path."""
    odd = "a/../b?c#d e"
    rig.stub.policies.append(Policy(tenant_id="t", policy_id=odd))
    await rig.check(odd)
    assert rig.stub.requests == 1


@pytest.mark.parametrize("rig", [HURRIED_S], indirect=True)
async def test_an_answer_about_another_policy_proves_that_the_service_is_there(rig: Rig):
    """A service that answers others gets no extra request for each failure of one policy."""
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
