"""Requests between parts of one cluster do not use the environment's proxy."""

from __future__ import annotations

import asyncio
import http.server
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import httpx
import pytest

from agents.app import app
from streams.connect.policy.policy import Policy
from streams.connect.policy.service import PolicyService
from streams.connect.policy.stub import StubPolicyService
from streams.core.clock import SystemClock
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics
from streams.core.tracing.opening import tracer_of
from streams.engine.health.remote_workers import RemoteWorkers
from streams.http.console.pipeline.workers import Workers
from streams.http.edge.client import EdgeClient


@pytest.fixture
def proxied() -> Iterator[list[str]]:
    """The requests that the proxy of the environment received."""
    asked: list[str] = []

    class Proxy(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(502)

        def log_message(self, *words: object) -> None:
            """The list of requests is the log."""

    Proxy.do_POST = Proxy.do_CONNECT = Proxy.do_GET
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server,
        pytest.MonkeyPatch.context() as patched,
    ):
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            for variable in (name, name.upper()):
                patched.setenv(variable, f"http://127.0.0.1:{server.server_port}")
        patched.delenv("no_proxy", raising=False)
        patched.delenv("NO_PROXY", raising=False)
        yield asked
        server.shutdown()
        thread.join()


async def test_the_environment_does_name_a_proxy(proxied):
    """The other tests rely on this proxy."""
    async with httpx.AsyncClient() as client:
        await client.get("http://127.0.0.1:9/")
    assert proxied == ["http://127.0.0.1:9/"]


async def test_the_console_asks_workers_of_this_machine_directly(proxied, tmp_path):
    """Through a proxy every worker would look dead, with null figures."""
    workers = Workers(tmp_path, "127.0.0.1", SystemClock(), None)
    workers.live = lambda: [SimpleNamespace(slot=0, http_port=9)]
    await workers._ask()
    await workers.close()
    assert proxied == []


async def test_the_console_asks_workers_elsewhere_directly(proxied):
    """They are parts of the same cluster."""

    class Once(SystemClock):
        async def sleep(self, seconds: float) -> None:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await RemoteWorkers("127.0.0.1:9", Once()).run()
    assert proxied == []


async def test_policies_are_requested_directly(proxied):
    """The policy service is a part of the cluster."""
    async with StubPolicyService() as stub:
        stub.policies.append(Policy(tenant_id="t", policy_id="p"))
        service = PolicyService(stub.url, SystemClock(), Metrics(), timeout_s=5)
        assert await service.fetch("t", "p") is not None
        await service.close()
    assert proxied == []


@pytest.mark.parametrize(
    ("url", "through"), [("http://127.0.0.1:9", 0), ("http://edge.invalid:9", 1)]
)
async def test_an_edge_elsewhere_may_be_behind_a_proxy(url, through, proxied):
    """An edge on this machine is never behind a proxy."""
    async with EdgeClient(url, "token", app.topology) as client:
        try:
            await client._http.get("/")
        except httpx.HTTPError:
            assert not through
    assert len(proxied) == through


def test_spans_go_to_the_collector_directly(proxied):
    """A proxy would see every request."""
    settings = Settings(otel_endpoint="http://127.0.0.1:9", otel_sample_ratio=1.0)
    tracer = tracer_of(settings, "test", SystemClock(), Metrics())
    with tracer.taking("model.metrics", b"") as header:
        assert header
    tracer.close(1.0)
    assert proxied == []
