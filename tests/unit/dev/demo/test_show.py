"""The demo's page: faults at a click, for the demo's console only."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import httpx
import msgspec
import pytest

from agents.app import MODEL_METRICS, app
from streams.connect.access.tokens import Role, TokenFile
from streams.connect.broker.memory.broker import MemoryBroker
from streams.core.clock import SystemClock
from streams.core.errors import RefusedBySafety, ShardUnavailable
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics
from streams.core.types import TopicPartition
from streams.dev.demo import serving
from streams.dev.demo.reconcile import Check, DemoVerdict
from streams.dev.demo.serving import COMPARED, ServedDemo
from streams.dev.demo.show.faults import POISON, DemoFaults
from streams.dev.demo.show.handler import DemoHandler
from streams.engine.decode.codecs import Limits, checked
from streams.http.console.addition import NOTHING_ADDED, ConsoleAddition
from streams.http.console.serving import ConsoleProcess
from streams.operate.topics.topics import wanted_topics

PATHS = ("/api/demo/kill-worker", "/api/demo/stop-shard", "/api/demo/send-poison")


@pytest.fixture
async def broker():
    made = MemoryBroker(SystemClock())
    await (await made.admin()).create_topics(wanted_topics(app.topology))
    return made


@pytest.fixture
def child():
    """A process that stands for a worker."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def restarted():
    return []


@pytest.fixture
def faults(tmp_path, broker, child, restarted):
    return DemoFaults(
        *(tmp_path, 2, broker, SystemClock()),
        serving=(tmp_path / COMPARED).exists,
        workers=lambda: [SimpleNamespace(pid=child.pid, slot=0, partitions=[{}])],
        restart=lambda home, shard: restarted.append(shard),
    )


@pytest.fixture
def tokens(tmp_path):
    make = TokenFile.of(tmp_path).create
    return {
        name: make(tenant=tenant, role=role, now_ms=SystemClock().now_ms())[1]
        for name, tenant, role in (
            ("admin", None, Role.ADMIN), ("bound", "acme", Role.ADMIN), ("operate", "acme", Role.OPERATE),
        )
    }  # fmt: skip


@pytest.fixture
def opened(tmp_path, broker, tokens, faults):
    """A client of the console, with the demo's addition or without."""

    def client(*, shown=True):
        async def counts():
            raise ShardUnavailable("away")

        def routes(gate):
            return DemoHandler(gate, faults, counts, tmp_path / COMPARED).routes()

        added = ConsoleAddition(("demo",), routes) if shown else NOTHING_ADDED
        process = ConsoleProcess(
            Settings(home=str(tmp_path)), app, broker, SystemClock(), Metrics(), addition=added
        )
        transport = httpx.ASGITransport(process.app())
        return httpx.AsyncClient(transport=transport, base_url="http://console")

    return client


def _bearer(tokens, name):
    return {"Authorization": f"Bearer {tokens[name]}"}


async def test_a_console_of_production_has_no_fault(opened, tokens, child):
    """Not even for an admin: the routes are not there, and the page is not."""
    async with opened(shown=False) as http:
        for path in (*PATHS, "/api/demo"):
            assert (await http.post(path, headers=_bearer(tokens, "admin"))).status_code == 404
        assert (await http.get("/demo", headers=_bearer(tokens, "admin"))).status_code == 404
    assert child.poll() is None


async def test_faults_are_for_admins_of_every_tenant_and_for_pages_of_the_console(
    opened, tokens, child, restarted
):
    """A page of another site must not kill anything through the visitor's session."""
    async with opened() as http:
        for path in PATHS:
            assert (await http.post(path)).status_code == 401
            for name in ("bound", "operate"):
                assert (await http.post(path, headers=_bearer(tokens, name))).status_code == 403
        await http.post("/session", json={"token": tokens["admin"]})
        for path in PATHS:
            assert (await http.post(path)).json()["code"] == "csrf"
        assert (child.poll(), restarted) == (None, [])
        csrf = {"X-CSRF-Token": (await http.get("/session")).json()["csrf"]}
        done = await http.post("/api/demo/kill-worker", headers=csrf)
        assert str(child.pid) in done.json()["said"]
        assert child.wait(30) == -9
        await http.post("/api/demo/stop-shard", headers=csrf)
        assert restarted in ([0], [1])
        page = await http.get("/demo")
        assert "Kill a worker" in page.text


async def test_the_page_says_when_a_service_is_away(opened, tokens):
    """A stopped shard is what the visitor caused: the counts are unknown meanwhile, and no error."""
    async with opened() as http:
        answer = await http.get("/api/demo", headers=_bearer(tokens, "admin"))
        assert answer.json() == {"counts": None, "compared": []}


async def test_poison_waits_for_the_demo_to_compare_its_events(faults, broker, tmp_path):
    """The demo did not send these: its table would say that records differ."""
    with pytest.raises(RefusedBySafety, match="still compares"):
        await faults.send_poison()
    verdict = DemoVerdict((Check("events read", 5, 5),), ())
    ServedDemo(tmp_path, 1, lambda text: None).show_compared(verdict)
    assert msgspec.json.decode((tmp_path / COMPARED).read_bytes()) == [
        {"name": "events read", "expected": 5, "found": 5, "ok": True}
    ]
    await faults.send_poison()
    reader, values = await broker.reader(), []
    for number in range(MODEL_METRICS.partitions):
        tp = TopicPartition(MODEL_METRICS.name, number)
        values += (await reader.read(tp, 0, 1_000_000)).values
    decoded, _ = checked(MODEL_METRICS, values, SystemClock().now_ms(), Limits(300, 604_800))
    assert len(decoded.bad) == len(values) == POISON


async def test_one_shard_restarts_at_a_time(faults, broker, tmp_path):
    """Two clicks must not take the second shard down as well."""
    await faults._busy.acquire()
    with pytest.raises(RefusedBySafety, match="wait for it"):
        await faults.stop_shard()


def test_the_demo_starts_the_console_with_its_page():
    """`dia console` has no such page."""
    assert serving.SHOW[-1] == "streams.dev.demo.show"
