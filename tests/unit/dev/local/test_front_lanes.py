"""Bounded lanes: a full lane refuses instead of waiting."""

from __future__ import annotations

import asyncio
import threading

import pytest

from streams.dev.local.clickhouse_front.errors import StatementFailed
from streams.dev.local.clickhouse_front.server import StatementLane


async def test_a_full_lane_refuses_and_recovers() -> None:
    """Code 202 tells a client to retry; a place is free again once work ends."""
    lane = StatementLane("test", threads=1, waiting_max=1)
    gate = threading.Event()
    running = [asyncio.ensure_future(lane.run(gate.wait)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(StatementFailed) as caught:
        await lane.run(gate.wait)
    assert caught.value.code == 202
    gate.set()
    assert await asyncio.gather(*running) == [True, True]
    assert await lane.run(lambda: 7) == 7
    lane.close()


async def test_work_of_a_disconnected_client_keeps_its_place() -> None:
    """A client that disconnects does not stop its statement, which still counts."""
    lane = StatementLane("test", threads=1, waiting_max=0)
    gate = threading.Event()
    left = asyncio.ensure_future(lane.run(gate.wait))
    await asyncio.sleep(0)
    left.cancel()
    await asyncio.sleep(0)
    with pytest.raises(StatementFailed):
        await lane.run(gate.wait)
    gate.set()
    lane.close()
