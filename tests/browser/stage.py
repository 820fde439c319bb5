"""The pipeline and the console that the browser tests use, with known events.

The pipeline's processes are those of a user: `dia worker`, the replay agent, `dia console`.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page

from agents.app import MODEL_METRICS, SIMULATION_REQUEST, TRAIN_RESULTS, app
from streams import cli
from streams.connect.access.tokens import Role, TokenFile
from streams.connect.broker.kafka.broker import KafkaBroker
from streams.connect.sinks import schema
from streams.core.clock import SystemClock
from streams.core.settings import PREFIX, load
from streams.dev.demo.command_process import DIA, CommandProcess, address_of
from streams.dev.demo.serving import trained_models
from streams.dev.local.stack import StackStatus
from streams.dev.workload.requests import RequestGenerator, RequestWorkload
from streams.engine.health.live_workers import LiveWorker, live_workers, pipeline_settled
from streams.operate.topics.topics import wanted_topics
from tests.browser.pages import sign_in

PATIENCE_S = 200.0
TENANT, OTHER, METRIC = "acme", "globex", "latency_ms"
MODELS = ("ranker", "recommender", "scorer")
MENDED = MODELS[2]
"""The model of the events that begin as dead letters; the events of the other two models are good.
"""
MINUTES = 40
PAST_MS = 120_000
EVENTS_A_MINUTE = 120
REQUESTS = 12
LETTERS = 7
"""Events whose value is text; a patch repairs them."""
_QUICK = {
    "COMMIT_INTERVAL_S": "0.2", "IDLE_CLOSE_S": "0.5", "GRACE_S": "0",
    "LATE_HOLD_S": "0.5", "ROLLUP_INTERVAL_S": "1", "CLICKHOUSE_DATABASE": "browsed",
    "HTTP_PORT": "0", "KERNELS": "off",
}  # fmt: skip


class Stage:
    """Created once for the module: recreated topics, and tables in a database of their own."""

    def __init__(self, stack: StackStatus, home: Path) -> None:
        self.stack = stack
        self.home = home
        addresses = {**stack.settings(), "home": str(home), "state_dir": ""}
        self.environ = {PREFIX + name.upper(): value for name, value in addresses.items()}
        self.environ |= {PREFIX + name: value for name, value in _QUICK.items()}
        self.settings, _ = load({**os.environ, **self.environ})
        self.token = self.new_token(Role.ADMIN)
        self.url = ""
        self._parts: list[CommandProcess] = []

    def new_token(self, role: Role, tenant: str | None = None) -> str:
        now_ms = SystemClock().now_ms()
        return TokenFile.of(self.home).create(tenant=tenant, role=role, now_ms=now_ms)[1]

    def set_up(self) -> None:
        for server in schema.servers(self.settings, app.clickhouse_tables):
            server.migrator.apply()
            server.replica.close()
        asyncio.run(self._make_topics())
        # Topics are created before the processes start: on a busy machine, a producer would time
        # out waiting for them and a newly started broker.
        asyncio.run(self._feed())
        self._workers = self._start("workers", "worker")
        self._start("replayer", "worker", "--agents", "replay")
        console = self._start("console", "console", "--port", "0")
        self.wait_until(self._settled, self._workers)
        self.url = address_of(console)

    def tear_down(self) -> None:
        for part in reversed(self._parts):
            part.stop()
        for server in schema.servers(self.settings, app.clickhouse_tables):
            server.replica.command(f"DROP DATABASE IF EXISTS {self.settings.clickhouse_database}")
            server.replica.close()

    def sign_in(self, page: Page, token: str) -> None:
        sign_in(page, self.url, token)

    def read_anew(self, cache: str) -> None:
        """Empty the console's cache, which keeps answers for half a minute."""
        answer = httpx.post(
            f"{self.url}/admin/cache/invalidate",
            json={"cache": cache, "pattern": "*"},
            headers={"Authorization": f"Bearer {self.token}"},
        )
        assert answer.is_success, answer.text

    def dia(self, *arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
        """Run the command on this stack."""
        for name, value in self.environ.items():
            monkeypatch.setenv(name, value)
        return cli.main([*arguments])

    def wait_until(self, true: Callable[[], bool], *parts: CommandProcess) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not true():
            for part in parts:
                assert not part.ended, part.log.read_text()[-2000:]
            said = "\n".join(part.log.read_text()[-2000:] for part in parts)
            assert time.monotonic() < deadline, said
            time.sleep(0.1)

    @contextmanager
    def without_workers(self) -> Iterator[None]:
        """Run no worker for a while. The next one reads shed orders before records; a paused one
        may have records in its buffer and would process them first."""
        self._workers.stop()
        try:
            yield
        finally:
            self._workers = self._start("workers", "worker")

    def produce(self, topic: str, events: Sequence[Mapping[str, object]]) -> None:
        """Run the command in a separate process: the browser uses this one's event loop."""
        lines = self.home / "events.jsonl"
        lines.write_text("".join(f"{json.dumps(event)}\n" for event in events))
        command = [*DIA, "produce", topic, "--file", str(lines)]
        done = subprocess.run(
            command, env={**os.environ, **self.environ}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    def _start(self, name: str, *arguments: str) -> CommandProcess:
        log = self.home / f"{name}.log"
        environ = {**os.environ, **self.environ}
        part = CommandProcess(name, [*DIA, *arguments], environ=environ, log=log)
        self._parts.append(part)
        return part

    def _settled(self) -> bool:
        return pipeline_settled(self._with_partitions())

    def _with_partitions(self) -> list[LiveWorker]:
        return [worker for worker in live_workers(self.home / "state") if worker.partitions]

    async def _make_topics(self) -> None:
        admin = await KafkaBroker.from_settings(self.settings).admin()
        await admin.delete_topics([topic.name for topic in wanted_topics(app.topology)])
        await admin.create_topics(wanted_topics(app.topology, replication_factor=1))
        await admin.close()

    async def _feed(self) -> None:
        now_ms = SystemClock().now_ms()
        # Past windows: an open one would keep the pipeline from settling.
        events = [*_metrics(now_ms - PAST_MS), *_spoilt(now_ms - PAST_MS)]
        models = [{**event, "tenant_id": TENANT} for event in trained_models(now_ms, 1)]
        generator = RequestGenerator(
            RequestWorkload(
                start_ms=now_ms, tenants=1, poison=0, duplicates=0, conflicts=0, trials=100
            )
        )
        requests = [
            json.loads(value)
            for block in generator.blocks(REQUESTS, REQUESTS)
            for value in block.values
        ]
        topics = (
            (MODEL_METRICS.name, events, "tenant_id"),
            (TRAIN_RESULTS.name, models, "model_id"),
            (
                SIMULATION_REQUEST.name,
                [{**one, "tenant_id": TENANT} for one in requests],
                "tenant_id",
            ),
        )
        producer = KafkaBroker.from_settings(self.settings).plain_producer()
        await producer.start()
        try:
            for topic, values, key in topics:
                keys = [value[key].encode() for value in values]
                bodies = [json.dumps(value).encode() for value in values]
                await (await producer.send_many(topic, keys, bodies))
        finally:
            await producer.close()


def _metrics(now_ms: int) -> Iterator[dict[str, object]]:
    """``MINUTES`` of each model, and one event of another tenant."""
    rng = random.Random(7)
    for model_number, model in enumerate(MODELS):
        for number in range(MINUTES * EVENTS_A_MINUTE):
            age_ms = number * 60_000 // EVENTS_A_MINUTE
            wave = 0.25 * math.sin(number / 600 + model_number)
            value = rng.lognormvariate(4.2 + 0.25 * model_number + wave, 0.35)
            yield _metric(TENANT, model, now_ms - age_ms, round(value, 3))
    yield _metric(OTHER, "solitary", now_ms, 1.0)


def _spoilt(now_ms: int) -> Iterator[dict[str, object]]:
    for number in range(LETTERS):
        yield _metric(TENANT, MENDED, now_ms - number * 60_000, "twelve")


def _metric(tenant: str, model: str, ts: int, value: object) -> dict[str, object]:
    return {"tenant_id": tenant, "model_id": model, "metric": METRIC, "ts": ts, "value": value}
