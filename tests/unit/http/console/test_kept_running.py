"""What a console keeps up to date in the background."""

from __future__ import annotations

import asyncio

import pytest

from streams.engine.health.remote_workers import RemoteWorkers
from streams.http.console import kept_running
from streams.http.region import RegionGate


@pytest.mark.parametrize("part", [RemoteWorkers, RegionGate])
async def test_background_work_goes_on_after_an_error(process, monkeypatch, part):
    """It ended in silence: the workers of the last look were shown as alive for ever, and every post refused as if
    no region were active."""
    errors, again = iter([RuntimeError("a bug")]), asyncio.Event()

    async def run(self):
        for error in errors:
            raise error
        again.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(part, "run", run)
    monkeypatch.setattr(kept_running, "AGAIN_S", 0.0)
    served = process.app()
    async with served.router.lifespan_context(served), asyncio.timeout(60):
        await again.wait()
