"""Members that join and leave faster than the group settles."""

from __future__ import annotations

import asyncio
import signal

import pytest

JOINS = 30


@pytest.mark.timeout(400)
async def test_a_storm_of_rebalances_loses_and_doubles_nothing(trial, report):
    """An unstable autoscaler: a member joins or leaves every two seconds, cleanly or not, while
    partitions still restore."""
    steady = trial.worker(0)
    await steady.ready()
    trial.feed(360_000)
    for number in range(JOINS):
        guest = trial.worker(1 + number % 4)
        await asyncio.sleep(2.0)
        if trial.rng.random() < 0.5:
            guest.kill()
        else:
            guest.send(signal.SIGTERM)
            # After two seconds, a process may not have installed its signal handlers.
            assert await guest.ended() in (0, -signal.SIGTERM), guest.tail()
    assert steady.exit_code is None, steady.tail()
    await trial.recovered()
    report(await trial.exact("rebalance storm", note=f"{JOINS} joins and leaves, one every 2 s"))
