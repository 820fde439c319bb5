"""The circuit breaker against a model that keeps the whole history."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from streams.core.clock import VirtualClock
from streams.core.errors import BreakerOpen, CacheUnavailable
from streams.core.resilience.breaker import Breaker, BreakerPolicy
from streams.core.telemetry.metrics import Metrics

STEPS = st.lists(
    st.tuples(st.sampled_from(["ok", "fail", "other", "pause"]), st.integers(0, 40)), max_size=60
)
POLICIES = st.builds(
    BreakerPolicy,
    failures=st.integers(1, 4),
    window_s=st.sampled_from([10.0, 60.0]),
    open_s=st.sampled_from([5.0, 30.0]),
    successes=st.integers(1, 3),
    consecutive=st.booleans(),
)


@dataclass
class Model:
    """The breaker's expected state after ``calls``: (second, outcome) of every admitted call."""

    policy: BreakerPolicy
    calls: list[tuple[float, str]] = field(default_factory=list)

    def state(self, now_s: float) -> str:
        policy, state, opened_at, failures, successes = self.policy, "closed", 0.0, [], 0
        for at_s, outcome in [*self.calls, (now_s, "now")]:
            if state == "open" and at_s - opened_at >= policy.open_s:
                state, successes = "half_open", 0
            if outcome == "fail":
                failures = [then for then in failures if at_s - then <= policy.window_s] + [at_s]
                if state == "half_open" or len(failures) >= policy.failures:
                    state, opened_at = "open", at_s
            elif outcome == "ok":
                successes += 1
                if state == "half_open" and successes >= policy.successes:
                    state, failures = "closed", []
                elif state == "closed" and policy.consecutive:
                    failures = []
        return state


class _OtherError(Exception):
    """An error that is not the dependency's fault."""


async def _attempt(outcome: str) -> str:
    if outcome == "fail":
        raise CacheUnavailable("down")
    if outcome == "other":
        raise _OtherError
    return outcome


@given(STEPS, POLICIES)
def test_a_breaker_follows_from_its_history(steps, policy):
    """It admits exactly the calls that the model admits, and reports the same state."""

    async def run() -> None:
        clock, metrics = VirtualClock(), Metrics()
        breaker, model = Breaker("d", policy, (CacheUnavailable,), clock, metrics), Model(policy)
        for outcome, wait_s in steps:
            if outcome == "pause":
                await clock.advance(wait_s)
                continue
            expected = model.state(clock.monotonic())
            assert breaker.state == expected
            try:
                assert await breaker.call(lambda outcome=outcome: _attempt(outcome)) == "ok"
            except BreakerOpen:
                assert expected == "open"
                assert breaker.retry_after_s > 0
                continue
            except (CacheUnavailable, _OtherError):
                pass
            assert expected != "open"
            model.calls.append((clock.monotonic(), outcome))
            after = metrics.registry.get_sample_value(
                "dia_breaker_state",
                {"dependency": "d", "state": model.state(clock.monotonic())},
            )
            assert after == 1.0

    asyncio.run(run())


@given(st.integers(2, 20), st.booleans())
def test_a_half_open_breaker_admits_one_trial_at_a_time(callers, cancelled):
    """All waiting callers at once would overload a dependency that has just recovered; a cancelled
    trial must not leave the breaker blocked."""

    async def run() -> None:
        clock = VirtualClock()
        policy = BreakerPolicy(failures=1, open_s=10.0, successes=1)
        breaker = Breaker("d", policy, (CacheUnavailable,), clock, Metrics())
        await asyncio.gather(breaker.call(lambda: _attempt("fail")), return_exceptions=True)
        await clock.advance(10.0)
        gate, started = asyncio.Event(), []

        async def slow() -> str:
            started.append(1)
            await gate.wait()
            return "ok"

        calls = [asyncio.create_task(breaker.call(slow)) for _ in range(callers)]
        await asyncio.sleep(0)
        assert len(started) == 1
        if cancelled:
            calls[0].cancel()
        gate.set()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(isinstance(outcome, BreakerOpen) for outcome in outcomes) == callers - 1
        assert await breaker.call(lambda: _attempt("ok")) == "ok"
        assert breaker.state == "closed"

    asyncio.run(run())
