"""The circuit breaker with its default limits, in calls and seconds."""

from __future__ import annotations

import pytest

from streams.core.clock import VirtualClock
from streams.core.errors import BreakerOpen, CacheUnavailable
from streams.core.resilience.breaker import Breaker, BreakerPolicy
from streams.core.telemetry.metrics import Metrics


async def _fails() -> None:
    raise CacheUnavailable("down")


async def _answers() -> str:
    return "ok"


class Rig:
    """One breaker; ``fail`` and ``answer`` return whether the dependency was called."""

    def __init__(self, **policy) -> None:
        self.clock = VirtualClock()
        self.breaker = Breaker(
            "redis", BreakerPolicy(**policy), (CacheUnavailable,), self.clock, Metrics()
        )

    async def fail(self, times: int = 1) -> list[bool]:
        return [await self._called(_fails) for _ in range(times)]

    async def answer(self, times: int = 1) -> list[bool]:
        return [await self._called(_answers) for _ in range(times)]

    async def _called(self, attempt) -> bool:
        try:
            await self.breaker.call(attempt)
        except CacheUnavailable:
            return True
        except BreakerOpen:
            return False
        return True


async def test_the_fifth_failure_opens_it():
    """Four failures may be chance; after the fifth within 60 s the next caller is refused."""
    rig = Rig()
    await rig.fail(4)
    assert rig.breaker.state == "closed"
    assert (await rig.fail(), rig.breaker.state) == ([True], "open")
    assert await rig.answer() == [False]


@pytest.mark.parametrize(("pause_s", "state"), [(15.0, "open"), (15.01, "closed")])
async def test_five_failures_count_together_within_one_minute(pause_s, state):
    """A failure counts for 60 s: a dependency with occasional failures stays in use."""
    rig = Rig()
    for _ in range(5):
        await rig.fail()
        await rig.clock.advance(pause_s)
    assert rig.breaker.state == state


async def test_an_open_one_lets_a_call_through_after_thirty_seconds():
    """A longer pause would delay work after the dependency has recovered."""
    rig = Rig()
    await rig.fail(5)
    await rig.clock.advance(29.9)
    assert (await rig.answer(), rig.breaker.state) == ([False], "open")
    assert rig.breaker.retry_after_s == pytest.approx(0.1)
    await rig.clock.advance(0.1)
    assert (rig.breaker.state, rig.breaker.retry_after_s) == ("half_open", 0.0)
    assert await rig.answer() == [True]


async def test_the_third_success_closes_it():
    """A single success of a starting dependency must not restore the full load."""
    rig = Rig()
    await rig.fail(5)
    await rig.clock.advance(30)
    await rig.answer(2)
    assert rig.breaker.state == "half_open"
    await rig.answer()
    assert rig.breaker.state == "closed"


async def test_a_closed_breaker_has_a_retry_after_of_zero():
    """Otherwise a caller would sleep ``retry_after_s`` before a healthy dependency."""
    assert Rig().breaker.retry_after_s == 0


async def test_failures_from_before_it_closed_do_not_open_it_again():
    """After recovery a failure counts as the first of five again."""
    rig = Rig(open_s=1.0)
    await rig.fail(5)
    await rig.clock.advance(1)
    await rig.answer(3)
    await rig.fail(4)
    assert rig.breaker.state == "closed"


async def test_a_success_resets_the_count_only_of_consecutive_failures():
    """A dependency that fails every second call opens the breaker, unless its user asks for
    consecutive failures.
    """
    strict, patient = Rig(), Rig(consecutive=True)
    for rig in (strict, patient):
        for _ in range(5):
            await rig.fail()
            await rig.answer()
    assert (strict.breaker.state, patient.breaker.state) == ("open", "closed")
