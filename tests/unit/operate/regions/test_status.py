"""Whether the edges of a region serve, as `dia region status` asks them."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from streams.connect.broker.memory.broker import MemoryBroker
from streams.core.clock import SystemClock
from streams.core.topics.topology import Topology
from streams.operate.regions.declared import Region
from streams.operate.regions.status import HEALTH, statuses
from tests.listening import listening

AWAY = "http://127.0.0.1:1"


@pytest.fixture
def url():
    @asynccontextmanager
    async def opened():
        answers = [
            Route(f"/{status}{HEALTH}", lambda request, status=status: Response(status_code=status))
            for status in (200, 503, 404)
        ]
        yield Starlette(routes=answers)

    with listening(opened) as found:
        yield found


async def test_edges_are_asked_and_those_of_this_machine_through_no_proxy(url, monkeypatch):
    """A proxy of the environment knows no address of this machine: every edge was said to be away."""
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, AWAY)
    edges = (f"{url}/200", f"{url}/503", f"{url}/404", AWAY)
    clock = SystemClock()
    region = Region(name="east", bootstrap="", edges=edges)
    topology = Topology("dia")
    [found] = await statuses(
        {"east": region}, {"east": MemoryBroker(clock)}, topology, clock, lease_s=30.0
    )
    assert [*found.edges.values()] == [True, False, None, None]
