"""Events over HTTP, while the broker and the edge die."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator, Sequence

import httpx
import pytest

from streams.core.types import Headers
from streams.http.edge.exchange import NDJSON
from tests.faults.edge_process import EdgeUnderTest
from tests.faults.services import absent

AWAY_S = 15.0
RETRY_S = 0.3
GIVE_UP_S = 90.0


class OverHttp:
    """A `PlainProducer` that posts; it posts unanswered events again, as a client would."""

    def __init__(self, edge: EdgeUnderTest) -> None:
        self._edge = edge
        self._http = httpx.AsyncClient(
            base_url=edge.url, headers={"Authorization": f"Bearer {edge.token}"}, timeout=60
        )
        self.spooled = 0

    async def start(self) -> None:
        return None

    async def send_many(
        self, topic: str, keys: Sequence[bytes], values: Sequence[bytes], headers: Headers = ()
    ) -> Awaitable[None]:
        assert not headers, "an edge takes none"
        return asyncio.ensure_future(self._post(topic, b"\n".join(values), len(values)))

    async def close(self) -> None:
        await self._http.aclose()

    async def _post(self, topic: str, body: bytes, count: int) -> None:
        async with asyncio.timeout(GIVE_UP_S):
            while True:
                try:
                    answer = await self._http.post(
                        f"/v1/events/{topic}", content=body, headers={"Content-Type": NDJSON}
                    )
                except httpx.TransportError:
                    await asyncio.sleep(RETRY_S)
                    continue
                if answer.status_code == 202:
                    break
                assert answer.status_code in {429, 503}, answer.text
                await asyncio.sleep(RETRY_S)
        found = answer.json()
        assert found["accepted"] == count
        self.spooled += count if found["stored"] == "spool" else 0


@pytest.fixture
def edge(trial, tmp_path) -> Iterator[EdgeUnderTest]:
    """An edge before the trial's broker."""
    running = EdgeUnderTest(tmp_path / "edge", trial.environ)
    running.start()
    yield running
    running.kill()


async def test_events_over_http_count_once(trial, report, edge, monkeypatch):
    """The broker stops midway and the edge is killed twice, once with a full spool: accepted events
    are in the windows exactly once, although the client repeats unanswered ones."""
    poster = OverHttp(edge)
    monkeypatch.setattr(trial.broker, "plain_producer", lambda: poster)
    await edge.direct()
    worker = trial.worker(0)
    await worker.ready()
    trial.feed(60_000, rate_per_s=2000, poison=0.0, future=0.0)
    await asyncio.sleep(trial.rng.uniform(1.0, 3.0))
    edge.kill()
    edge.start()
    away = absent(trial.stack.home, "kafka")
    await asyncio.to_thread(away.__enter__)
    try:
        await asyncio.sleep(AWAY_S / 2)
        edge.kill()
        edge.start()
        await asyncio.sleep(AWAY_S / 2)
    finally:
        await asyncio.to_thread(away.__exit__, None, None, None)
    await trial.fed()
    await edge.direct()
    assert poster.spooled
    note = f"{poster.spooled:,} through the spool"
    report(await trial.windows_exact("events over HTTP: broker away, edge kill -9 twice", note))
    assert edge.stop() == 0
