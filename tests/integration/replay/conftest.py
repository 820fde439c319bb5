"""A worker on the session's stack, with its own database, and the `dia` command beside it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from agents.app import AGGREGATE_METRICS, MODEL_METRICS, app
from streams import cli
from streams.connect.broker.kafka.broker import KafkaBroker
from streams.connect.sinks import schema
from streams.connect.sinks.clickhouse import ClickHouseShards
from streams.core.clock import SystemClock
from streams.core.resilience.deadline import Deadline
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics
from streams.core.types import Headers
from streams.dev.local.stack import StackStatus
from streams.engine.runtime.worker import Worker
from streams.engine.state.rocksdb import RocksFolder
from tests.empty_topics import empty_topics

DATABASE = "replayed"
PATIENCE_S = 200.0
HERE = Path(__file__).parent


class Pipeline:
    """A running worker in its own thread: the test's commands use the main thread."""

    def __init__(self, settings: Settings, state: Path) -> None:
        self.settings = settings
        self.state = state
        self.clock = SystemClock()
        self.broker = KafkaBroker(
            settings.kafka_bootstrap, session_timeout_s=settings.session_timeout_s
        )
        self.shards = [server.replica for server in schema.servers(settings, app.clickhouse_tables)]
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="pipeline")
        self._thread.start()
        self.worker: Worker | None = None
        self._running: asyncio.Task[None] | None = None

    def wait(self, work: Any) -> Any:
        """Run a coroutine in the pipeline's event loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE_S)

    async def start(self) -> None:
        self.worker = Worker(
            agents=[AGGREGATE_METRICS],
            broker=self.broker,
            shards=ClickHouseShards.from_settings(self.settings, self.clock, app.clickhouse_tables),
            stores=lambda group: RocksFolder(self.state, group),
            clock=self.clock,
            settings=self.settings,
            metrics=Metrics(),
            instance_id="replayed",
        )
        self._running = asyncio.create_task(self.worker.run(lambda: None))

    async def stop(self) -> None:
        assert self.worker is not None
        assert self._running is not None
        await self.worker.drain(Deadline(self.clock, 20.0))
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)

    async def feed(self, records: list[tuple[bytes, bytes, Headers]]) -> None:
        """Send (key, value, headers), each to its key's partition."""
        producer = self.broker.plain_producer()
        await producer.start()
        plain = [(key, value) for key, value, headers in records if not headers]
        sent = [await producer.send_many(MODEL_METRICS.name, *map(list, zip(*plain, strict=True)))]
        for key, value, headers in records:
            if headers:
                sent.append(await producer.send(MODEL_METRICS.name, key, value, headers))
        await asyncio.gather(*sent)
        await producer.close()

    async def settled(self, read: int) -> None:
        """Wait until ``read`` records are folded in all and every effect of them is acknowledged."""
        assert self.worker is not None
        assert self._running is not None
        async with asyncio.timeout(PATIENCE_S):
            while True:
                held = [p for g in self.worker.groups for p in g.partitions.values()]
                done = sum(p.partition.progress.read for p in held if p.partition is not None)
                if done == read and self.worker.settled:
                    return
                assert not self._running.done(), self._running
                await asyncio.sleep(0.1)

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of every shard."""
        return [tuple(row) for shard in self.shards for row in shard.query(sql)[1]]

    def close(self) -> None:
        self.wait(self.stop())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()
        for shard in self.shards:
            shard.command(f"DROP DATABASE IF EXISTS {DATABASE}")
            shard.close()


@pytest.fixture
def pipeline(stack: StackStatus, tmp_path: Path) -> Iterator[Pipeline]:
    """Empty topics, empty tables, and a running worker."""
    settings = Settings(
        kafka_bootstrap=stack.kafka_bootstrap,
        clickhouse_shards=",".join(stack.shards),
        clickhouse_user=stack.clickhouse_user,
        clickhouse_password_file=stack.clickhouse_password_file,
        clickhouse_database=DATABASE,
        commit_interval_s=0.2,
        session_timeout_s=6.0,
        idle_close_s=0.5,
        grace_s=0,
        late_hold_s=0.5,
        rollup_interval_s=1.0,
    )
    for server in schema.servers(settings, app.clickhouse_tables):
        server.migrator.apply()
        server.replica.close()
    # The worker's logs would mix with a command's stdout, which pytest captures as one.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    made = Pipeline(settings, tmp_path / "state")
    made.wait(empty_topics(made.broker))
    made.wait(made.start())
    yield made
    made.close()
    structlog.reset_defaults()


@pytest.fixture
def dia(
    stack: StackStatus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., tuple[int, str, str]]:
    """Run a command beside the pipeline; return (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DIA_HOME", str(tmp_path))
    monkeypatch.setenv("DIA_KAFKA_BOOTSTRAP", stack.kafka_bootstrap)
    monkeypatch.setenv("DIA_CLICKHOUSE_SHARDS", ",".join(stack.shards))
    monkeypatch.setenv("DIA_CLICKHOUSE_USER", stack.clickhouse_user)
    monkeypatch.setenv("DIA_CLICKHOUSE_PASSWORD_FILE", stack.clickhouse_password_file)
    monkeypatch.setenv("DIA_CLICKHOUSE_DATABASE", DATABASE)

    def run(*args: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = cli.main(args)
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def doomed(dia: Any) -> Callable[..., int]:
    """Run a command that is killed at its nth transaction: doomed("before", 3, "replay", ...)."""

    def run(moment: str, nth: int, *args: str) -> int:
        command = [sys.executable, str(HERE / "doomed_replay.py"), moment, str(nth), *args]
        root = str(HERE.parents[2])
        environment = {**os.environ, "PYTHONPATH": root}
        return subprocess.run(command, env=environment, capture_output=True, check=False).returncode

    return run
