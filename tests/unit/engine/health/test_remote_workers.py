"""Workers on other hosts: found by a DNS name, read on their own ports, removed when they end."""

from __future__ import annotations

import asyncio

import httpx
import msgspec
import pytest

from streams.core.clock import SystemClock
from streams.core.errors import UsageError
from streams.core.process.listener import bound
from streams.core.telemetry.health import HealthServer, HealthState
from streams.core.telemetry.metrics import Metrics
from streams.engine.health import remote_workers
from streams.engine.health.remote_workers import RemoteWorkers
from streams.http.console.pipeline.workers import Workers

STATUS = {
    "pid": 7,
    "slot": 0,
    "host": "dia-all-1",
    "http_port": 1,
    "ready": True,
    "partitions": [{"group": "g", "topic": "t", "partition": 0, "phase": "ready", "lag": 3}],
    "degradation": {"level": 2, "since_ms": 1, "causes": []},
}


@pytest.fixture
async def worker():
    """A worker's port on this machine in place of another host's: its state, and the port."""
    clock, metrics = SystemClock(), Metrics()
    metrics.state.live_windows.labels("t", "0").set(42)
    state = HealthState(clock)
    server = HealthServer(state, metrics, clock, bound("127.0.0.1", 0, "DIA_HTTP_PORT"))
    yield state, await server.start()
    await server.stop()


async def _look(distant) -> list:
    async with httpx.AsyncClient() as http:
        return await distant.look(http)


async def test_a_worker_on_another_host_is_shown_with_its_metrics(worker, tmp_path):
    """A console in its own pod shows each running pod by its name."""
    state, port = worker
    state.set_status(msgspec.json.encode(STATUS))
    distant = RemoteWorkers(f"localhost:{port}", SystemClock())
    looking = asyncio.create_task(distant.run())
    async with asyncio.timeout(200):
        while not distant.live:  # noqa: ASYNC110 - it looks by itself
            await asyncio.sleep(0.01)
    workers = Workers(tmp_path, "192.0.2.1", SystemClock(), distant)
    survey = await workers.survey()
    (found,) = survey.workers
    assert (found.slot, found.address, found.http_port) == ("dia-all-1/0", "127.0.0.1", port)
    assert found.partitions[0]["lag"] == 3
    assert found.degradation.level == 2
    assert survey.total("live_windows", topic="t") == 42
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)
    await workers.close()


async def test_a_worker_with_a_blocked_event_loop_counts_as_silent(worker, monkeypatch):
    """The thread of the port still answers, with the last state of the event loop."""
    state, port = worker
    state.set_status(msgspec.json.encode(STATUS))
    (found,) = await _look(RemoteWorkers(f"127.0.0.1:{port}", SystemClock()))
    assert not found.silent
    monkeypatch.setattr(HealthState, "status_age_s", 100.0)
    (found,) = await _look(RemoteWorkers(f"127.0.0.1:{port}", SystemClock()))
    assert found.silent


async def test_other_components_are_not_listed_as_workers(worker):
    """Edge and console share the DNS name; their ports report no partitions."""
    _, port = worker
    assert await _look(RemoteWorkers(f"127.0.0.1:{port}", SystemClock())) == []


@pytest.mark.parametrize("status", [b"nonsense", b'{"pid": "x"}'])
async def test_a_worker_of_an_unknown_version_is_omitted(worker, status):
    """An upgrade of the workers must not break the console."""
    state, port = worker
    state.set_status(status)
    assert await _look(RemoteWorkers(f"127.0.0.1:{port}", SystemClock())) == []


async def test_absent_workers_are_not_listed(worker):
    """Neither the address of a dead pod nor an unknown name delays the others."""
    state, port = worker
    state.set_status(msgspec.json.encode(STATUS))
    # A label has at most 63 characters, so this name is invalid without a resolver.
    nowhere = "x" * 64
    distant = RemoteWorkers(f"127.0.0.1:1, {nowhere}:9464,127.0.0.1:{port}", SystemClock())
    assert [found.pid for found in await _look(distant)] == [7]


async def test_the_number_of_requested_addresses_is_bounded(worker, monkeypatch):
    """A name with thousands of addresses must not open thousands of connections."""
    state, port = worker
    state.set_status(msgspec.json.encode(STATUS))
    asked = []
    told = remote_workers._told
    monkeypatch.setattr(remote_workers, "WORKERS_MAX", 1)

    async def counted(http, at):
        asked.append(at)
        return await told(http, at)

    monkeypatch.setattr(remote_workers, "_told", counted)
    await _look(RemoteWorkers(f"127.0.0.1:{port},127.0.0.1:1", SystemClock()))
    assert len(asked) == 1


@pytest.mark.parametrize(
    "text", ["dia", "dia:", ":9464", "dia:http", "dia:0", "dia:99999", "[]:9464"]
)
def test_an_invalid_address_ends_the_start(text):
    """The error is a message at the start instead of an empty page."""
    with pytest.raises(UsageError, match="DIA_WORKERS_AT"):
        RemoteWorkers(text, SystemClock())


async def test_without_a_name_no_address_is_requested():
    """On one host the workers' files are enough."""
    distant = RemoteWorkers("", SystemClock())
    await distant.run()
    assert distant.live == []
