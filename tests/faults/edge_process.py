"""One process of `dia edge serve`, with a home of its own, that a test kills and restarts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import httpx

from streams.connect.access.tokens import Role, TokenFile
from streams.core.clock import SystemClock
from tests.faults.web_process import PATIENCE_S, WebProcess


class EdgeUnderTest(WebProcess):
    """``token`` is an admin's, of every tenant."""

    def __init__(self, home: Path, environ: Mapping[str, str]) -> None:
        home.mkdir(parents=True, exist_ok=True)
        own = {**environ, "DIA_HOME": str(home), "DIA_EDGE_REQUESTS": "1000000"}
        super().__init__(["edge", "serve"], own, home / "edge.log")
        self.home = home
        _, self.token = TokenFile.of(home).create(
            tenant=None, role=Role.ADMIN, now_ms=SystemClock().now_ms()
        )

    async def direct(self) -> None:
        """Wait until every event posted so far is in the log."""
        async with asyncio.timeout(PATIENCE_S), httpx.AsyncClient(base_url=self.url) as client:
            while not await _is_direct(client):  # noqa: ASYNC110 - another process notifies no waiter
                await asyncio.sleep(0.1)


async def _is_direct(client: httpx.AsyncClient) -> bool:
    return all((await client.get("/healthz")).json()["direct"].values())
