"""A console over in-memory parts, served to a browser: what services answer is chosen by a test.

Kafka is the in-memory broker. Rows stand in for ClickHouse; each statement gets those of its table. A worker
is a status file, as each worker writes one."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from agents.app import MODEL_METRICS, app
from streams.connect.access.tokens import Role, TokenFile
from streams.connect.access.web_server import WebServer
from streams.connect.broker.memory.broker import MemoryBroker
from streams.connect.sinks.series import plain
from streams.connect.sinks.window_views.ranking import RankingReading
from streams.connect.sinks.window_views.series_view import SeriesReading
from streams.connect.sinks.window_views.view import WindowPoints
from streams.core.clock import SystemClock
from streams.core.errors import BrokerUnavailable, ShardUnavailable
from streams.core.process.listener import bound
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics
from streams.core.words.moments import iso_s
from streams.engine.app.app import App
from streams.engine.windows.minutes.sketch_code import encode
from streams.http.console.addition import NOTHING_ADDED, ConsoleAddition
from streams.http.console.capacity.forecast_runs import ForecastRuns
from streams.http.console.serving import ConsoleProcess
from streams.http.console.shards import ShardReader
from streams.operate.replay.agent.agent import ReplayAgent
from streams.operate.topics.topics import wanted_topics
from tests.browser.conftest import WIDE, no_script_errors
from tests.browser.pages import read
from tests.unit.operate.dlq.mailbag import fill, six

TENANT, MODEL, METRIC, OTHER_METRIC = "acme", "ranker", "latency_ms", "auc"
EVENTS_A_MINUTE = 60
ANSWER_S = 60.0


class AwayBroker(MemoryBroker):
    """Its clients cannot be made while ``away``."""

    away = False

    def _check(self) -> None:
        if self.away:
            raise BrokerUnavailable("connect at secret-host:9092: no answer")

    async def admin(self):
        self._check()
        return await super().admin()

    def reader(self):
        self._check()
        return super().reader()


class MemoryConsole:
    """Runs in a thread with an event loop of its own: the browser uses the test's."""

    def __init__(
        self,
        home: Path,
        patch: pytest.MonkeyPatch,
        *,
        of: App = app,
        added: Callable[[MemoryConsole], ConsoleAddition] = lambda console: NOTHING_ADDED,
    ) -> None:
        """``of``: the app whose console it is; ``added``: what it has besides, made once it has a broker."""
        self.home = home
        self.down: set[int] = set()
        """shards that do not answer"""
        self.empty = False
        """ClickHouse has no row"""
        self.rows_of_windows: list[list[Any]] = []
        """of any key and table of windows with aggregators, as ClickHouse answers"""
        self.names: list[Any] = []
        """of any of their dimensions"""
        self.tenants = [TENANT]
        """that have sent an event"""
        self.token = self.new_token(Role.ADMIN, None)
        self._patch_shards(patch)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.broker = self.do(self._broker())
        self.settings = Settings(home=str(home))
        parts = (self.settings, of, self.broker, SystemClock(), Metrics())
        self.process = ConsoleProcess(*parts, addition=added(self))
        self.process.console.capacity.forecasts = ForecastRuns(self._predict, SystemClock())
        self._open = ExitStack()
        listener = self._open.enter_context(bound("127.0.0.1", 0, "DIA_CONSOLE_PORT"))
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        listening = threading.Event()
        self._server = WebServer(self.process.app(), listener, stop_timeout_s=1)
        self._server.on_listening = lambda url: listening.set()
        self._served = asyncio.run_coroutine_threadsafe(
            self._server.run_until_stopped(), self._loop
        )
        assert listening.wait(ANSWER_S)

    async def _predict(self) -> tuple[int, bytes, bytes]:
        if self.down or self.empty:
            return 4, b"", b"error: secret-host does not answer\n"
        now_s = _minute_s() // 3600 * 3600
        hours = [
            {"hour": iso_s(now_s + 3600 * ahead), "events_per_s": 110.0, "low": 90.0, "high": 140.0}
            for ahead in range(48)
        ]
        return 0, b"".join(json.dumps(one).encode() + b"\n" for one in hours), b""

    def new_token(self, role: Role, tenant: str | None) -> str:
        now_ms = SystemClock().now_ms()
        return TokenFile.of(self.home).create(tenant=tenant, role=role, now_ms=now_ms)[1]

    def close(self) -> None:
        self._server.stop()
        self._served.result(ANSWER_S)
        self._open.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(ANSWER_S)
        self._loop.close()

    def do(self, what: Coroutine[Any, Any, Any]) -> Any:
        """Run it in the server's loop."""
        ended: Future[Any] = asyncio.run_coroutine_threadsafe(what, self._loop)
        return ended.result(ANSWER_S)

    @contextmanager
    def replaying(self) -> Iterator[None]:
        """Run the replay agent, as a worker does."""
        quick = replace(self.settings, fetch_timeout_s=0.01)
        at = (self.broker, None, SystemClock(), quick, "agent", app.topology)
        agent = ReplayAgent(*at)
        running = asyncio.run_coroutine_threadsafe(agent.run(lambda: None), self._loop)
        try:
            yield
        finally:
            agent.stop()
            running.result(ANSWER_S)

    def sample(self) -> None:
        """As the console does every ten seconds."""
        self.do(self.process.console.history._recorder.sample())

    def forget(self) -> None:
        """Drop what the console read of services, brokers and workers a moment ago."""
        self.do(self._forget())

    async def _forget(self) -> None:
        console = self.process
        for kept in (
            console._services._recent,
            console._health._recent,
            console._workers._recent,
            console.console.overview._live,
            console.console.history._ordered._recent,
            *console.console.history._answers.values(),
        ):
            kept.forget()

    def with_worker(self, *, running: bool) -> None:
        """The status file of a worker, kept by this process, that owns every partition."""
        status = self.home / "state" / "workers" / "0.json"
        if not running:
            status.unlink(missing_ok=True)
            return
        held = [
            {"group": agent.group, "topic": agent.source.name, "partition": number}
            | {"lag": 0, "phase": "ready", "paused": False}
            for agent in app.agents.values()
            for number in range(agent.source.partitions)
        ]
        status.parent.mkdir(parents=True, exist_ok=True)
        found = {"pid": os.getpid(), "slot": 0, "partitions": held, "sources": [], "ready": True}
        status.write_text(json.dumps(found))

    async def _broker(self) -> AwayBroker:
        broker = AwayBroker(SystemClock())
        await (await broker.admin()).create_topics(wanted_topics(app.topology))
        await fill(broker, *six())
        producer = broker.plain_producer()
        await producer.start()
        now_ms = SystemClock().now_ms()
        event = {"tenant_id": TENANT, "model_id": MODEL, "metric": METRIC, "ts": now_ms, "value": 1}
        values = [json.dumps({**event, "value": number}).encode() for number in range(20)]
        keys = [TENANT.encode()] * len(values)
        await (await producer.send_many(MODEL_METRICS.name, keys, values))
        await producer.close()
        return broker

    def _patch_shards(self, patch: pytest.MonkeyPatch) -> None:
        stage = self

        async def of_all(
            self: ShardReader, sql: str, parameters: Any, *, owner: str | None = None
        ) -> Sequence[Sequence[Any]]:
            stage._check()
            if "SELECT DISTINCT `" in sql:
                return [[name] for name in stage.names]
            if "SELECT DISTINCT tenant" in sql:
                return [] if stage.empty else [[tenant] for tenant in stage.tenants]
            return [] if stage.empty else _rows(sql)

        async def of_windows(self: ShardReader, reading: Any) -> WindowPoints:
            stage._check()
            if not isinstance(reading, SeriesReading | RankingReading):
                return reading.points([[] if stage.empty else stage.rows_of_windows])
            if isinstance(reading, RankingReading):
                return reading.points([[] if stage.empty else _ranking()])
            rows = [] if stage.empty else _series()
            return reading.points([rows if reading.sketches else plain(rows)])

        async def alive(self: ShardReader, shard: int) -> None:
            if shard in stage.down:
                raise ShardUnavailable(f"shard {shard} at secret-host does not answer")

        patch.setattr(ShardReader, "of_all", of_all)
        patch.setattr(ShardReader, "of_windows", of_windows)
        patch.setattr(ShardReader, "alive", alive)
        patch.setattr(ShardReader, "__len__", lambda self: 2)

    def _check(self) -> None:
        if self.down:
            raise ShardUnavailable("a shard at secret-host does not answer")


QUICK_MS = 30_000


@contextmanager
def admin_page(
    console: MemoryConsole, browser: Browser, timezone_id: str = "Etc/UTC"
) -> Iterator[Page]:
    """A page signed in as an admin. Its scripts must not fail."""
    context = browser.new_context(
        base_url=console.url, viewport=WIDE, reduced_motion="reduce", timezone_id=timezone_id
    )
    context.set_default_timeout(QUICK_MS)
    opened = context.new_page()
    with no_script_errors(opened):
        # The sign-in page leads to the overview, which would keep an answer.
        opened.goto(f"{console.url}/sign-in?next=/trace")
        opened.get_by_label("Access token").fill(console.token)
        opened.get_by_role("button", name="Sign in").click()
        expect(opened).to_have_url(f"{console.url}/trace")
        yield opened
    context.close()


def look(page: Page, console: MemoryConsole, path: str) -> None:
    """Open the page as the first one that asks in this state."""
    console.forget()
    page.goto(path)
    read(page)


def _minute_s() -> int:
    return int(time.time()) // 60 * 60


def _slots() -> list[int]:
    """Of five minutes, within the last hour."""
    first = _minute_s() // 300 * 300 - 3600
    return [first + 300 * number for number in range(12)]


_CODES = encode(np.array([5.0, 8.0, 9.0])).tolist()
"""of the percentiles"""


def _series() -> list[list[Any]]:
    """Two windows with their sketches, as `streams.connect.sinks.series.statement` gives them."""
    return [
        [at, EVENTS_A_MINUTE, 5.0, 60.0, 1.0, 9.0, 4.0, _CODES, [100, 200], [30, 30], [0]]
        for at in (_minute_s() - 180, _minute_s() - 120)
    ]


def _ranking() -> list[list[Any]]:
    """Two models over the whole range, as `streams.connect.sinks.series.ranked` gives them."""
    return [
        [name, 120, mean, 120.0, 1.0, 9.0, 4.0, _CODES]
        for name, mean in ((MODEL, 5.0), ("slow", 7.25))
    ]


def _ledger() -> list[list[Any]]:
    return [["dia-group", MODEL_METRICS.name, 0, 0, 20, 20, 18, 1, 1, 0, 0, _minute_s() * 1000]]


def _simulations() -> list[list[Any]]:
    """One finished Monte Carlo, 10 ms for each of 1,000 trials, as `simulations_local` gives it."""
    at = _minute_s() * 1000
    summary = json.dumps(
        {
            "trials": 1000, "mean": 200.5, "sd": 30.0, "mean_low": 198.6, "mean_high": 202.4, "min": 110.0, "max": 290.0,
            "quantiles": [
                {"level": level, "value": value, "low": value - 2, "high": value + 2}
                for level, value in ((0.05, 151.0), (0.5, 200.0), (0.95, 249.0))
            ],
            "exceedance": [{"bound": 240.0, "probability": 0.1, "low": 0.08, "high": 0.12}],
        }
    )  # fmt: skip
    work = ("stock", "request", MODEL, "", "monte_carlo", 4, 1000, "completed", 0, "", "", summary)
    return [[*work, at - 20_000, at - 10_000, at]]


_ROWS: dict[str, Callable[[], list[list[Any]]]] = {
    "SELECT DISTINCT model": lambda: [[MODEL]],
    "SELECT DISTINCT metric": lambda: [[METRIC], [OTHER_METRIC]],
    "AS at, max(behind_s)": lambda: [[at, 9.0] for at in _slots()],
    "SELECT toUnixTimestamp(w)": lambda: [
        [_minute_s() - 60 * age, EVENTS_A_MINUTE, _minute_s() * 1000] for age in range(30)
    ],
    "SELECT tenant, sum(n)": lambda: [
        [TENANT, 1800, 2, 60, 0, 4],
        ["globex", 200, 1, 60, 3, 7_200],
    ],
    "SELECT tenant, error_code": lambda: [
        ["globex", "wrong_type", 5, _minute_s() * 1000 - 600_000, _minute_s() * 1000],
        [TENANT, "invalid_json", 1, _minute_s() * 1000, _minute_s() * 1000],
    ],
    "AS hour, sum(events)": lambda: [
        [_minute_s() // 3600 * 3600 - 3600 * age, 360_000] for age in range(1, 48)
    ],
    "GROUP BY topic, at": lambda: [[MODEL_METRICS.name, at, 30_000, 3_000_000] for at in _slots()],
    "AS slot, sum(events)": lambda: [[at, 30_000] for at in _slots()],
    "max(memory_bytes), max(behind_s)": lambda: [
        ["w-0", 1, at, 0.5 * (at - _slots()[0]), 1 << 28, 1.5, 0.25] for at in _slots()
    ],
    "toUnixTimestamp(min(w)), toUnixTimestamp(max(w)) FROM": lambda: [
        [f"w-{number}", 1, _slots()[3 * number], _slots()[-1] + 300] for number in range(3)
    ],
    "min(cpu_s), max(cpu_s)": lambda: [
        ["w-0", 1, 0.0, 900.0, _slots()[0], _slots()[-1] + 300, 1 << 28]
    ],
    "bytes_on_disk": lambda: [[360_000, 360_000, 1e12]],
    "AS part, count()": lambda: [[3, 4], [11, 2]],
    "SELECT count()": lambda: [[6]],
    "FROM ledger_local": _ledger,
    "SELECT model, card": lambda: [[MODEL, json.dumps(_CARD)]],
    "FROM simulations_local": _simulations,
    "SELECT model, version": lambda: [
        [
            MODEL,
            f"v{version}",
            "run",
            "run_completed",
            "",
            "",
            {"auc": 0.8 + version / 100},
            1000 * version,
        ]
        for version in (3, 2, 1)
    ],
}


_CARD = {
    "tenant_id": TENANT,
    "model_id": MODEL,
    "aliases": {"champion": "v2"},
    "versions": {"v2": {"run_id": "run", "stage": "production", "last_seen_ms": 2000}},
    "best": {},
}


def _rows(sql: str) -> list[list[Any]]:
    """The rows of the first known part of the statement; none of an unknown one."""
    text = " ".join(sql.split())
    return next((rows() for part, rows in _ROWS.items() if part in text), [])
