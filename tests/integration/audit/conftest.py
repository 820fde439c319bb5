"""A pipeline on the session's stack that has processed all its events, in its own database."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agents.app import MODEL_METRICS, TRAIN_RESULTS, app
from streams import cli
from streams.connect.broker.kafka.broker import KafkaBroker
from streams.connect.cache.kind import MODEL, owned
from streams.connect.cache.process import shared_layer
from streams.connect.cache.redis import RedisShared, connect
from streams.connect.cache.shared import CacheKey, SharedEntry
from streams.connect.sinks import schema
from streams.connect.sinks.clickhouse import ClickHouseShards
from streams.core.clock import SystemClock
from streams.core.resilience.deadline import Deadline
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics
from streams.dev.local.stack import StackStatus
from streams.dev.workload.generator import Generator
from streams.dev.workload.oracle import Oracle
from streams.dev.workload.shape import Workload
from streams.engine.runtime.worker import Worker
from streams.engine.state.rocksdb import RocksFolder
from streams.operate.produce.feed import RecordFeed
from tests.empty_topics import empty_topics

DATABASE = "audited"
EVENTS = 6000
TRAINED = 200
"""Training results of ten models, beside the events."""
PATIENCE_S = 200.0
HOURS_BACK_MS = 3 * 3_600_000
"""Events of past hours, so that their roll-ups are compared, too."""


class Pipeline:
    """The sent events, and the shards whose rows a test changes."""

    trained = TRAINED

    def __init__(self, settings: Settings, oracle: Oracle, cards: dict[str, SharedEntry]) -> None:
        """``cards`` are what the cache holds of each model at the end: it forgets them after 300 s."""
        self.settings = settings
        self.oracle = oracle
        self.cards = cards
        self.shards = [server.replica for server in schema.servers(settings, app.clickhouse_tables)]

    def everywhere(self, *statements: str) -> None:
        """Run the statements on every shard."""
        for shard in self.shards:
            for statement in statements:
                shard.command(statement)

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of every shard."""
        return [tuple(row) for shard in self.shards for row in shard.query(sql)[1]]


async def _run(settings: Settings, state: Path) -> Pipeline:
    clock = SystemClock()
    broker = KafkaBroker(settings.kafka_bootstrap, session_timeout_s=settings.session_timeout_s)
    await empty_topics(broker)
    shared = RedisShared(connect(settings.redis_url, 5.0))
    worker = Worker(
        agents=tuple(app.agents.values()),
        broker=broker,
        shards=ClickHouseShards.from_settings(settings, clock, app.clickhouse_tables),
        stores=lambda group: RocksFolder(state, group),
        clock=clock,
        settings=settings,
        metrics=Metrics(),
        instance_id="audited",
        layer=shared_layer(shared, clock, Metrics()),
    )
    running = asyncio.create_task(worker.run(lambda: None))
    await _train(broker, clock)
    oracle = await _feed(broker, clock)
    async with asyncio.timeout(PATIENCE_S):
        while not await _done(worker, broker, oracle):
            assert not running.done(), running
            await asyncio.sleep(0.2)
    await worker.drain(Deadline(clock, 20.0))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    cards = {
        model: await shared.read(CacheKey(MODEL.name, owned("acme", model)))
        for model in (f"m{number}" for number in range(10))
    }
    await shared.close()
    return Pipeline(settings, oracle, cards)


async def _train(broker: KafkaBroker, clock: SystemClock) -> None:
    producer = broker.plain_producer()
    await producer.start()
    for number in range(TRAINED):
        result = {
            "result_id": f"r{number}",
            "run_id": f"run{number}",
            "tenant_id": "acme",
            "model_id": f"m{number % 10}",
            "version": f"v{number // 10}",
            "event": "run_completed" if number % 3 else "alias_updated",
            "alias": "champion",
            "metrics": {"loss": number / 8},
            "ts": clock.now_ms(),
        }
        await (
            await producer.send(
                TRAIN_RESULTS.name, result["model_id"].encode(), json.dumps(result).encode()
            )
        )
    await producer.close()


async def _feed(broker: KafkaBroker, clock: SystemClock) -> Oracle:
    shape = Workload(
        start_ms=clock.now_ms() - HOURS_BACK_MS,
        seed=5,
        tenants=20,
        models=3,
        metrics=2,
        poison=0.01,
        step_ms=100,
    )
    generator = Generator(shape)
    producer = broker.plain_producer()
    await producer.start()
    feed = RecordFeed(producer, MODEL_METRICS.name, clock)
    for block in generator.blocks(EVENTS):
        await feed.send(*block)
    await feed.drain()
    await producer.close()
    return generator.oracle


async def _done(worker: Worker, broker: KafkaBroker, oracle: Oracle) -> bool:
    held = [p for group in worker.groups for p in group.partitions.values() if p.partition]
    read = sum(p.partition.progress.read for p in held if p.partition is not None)
    return read == oracle.produced + TRAINED and worker.settled


@pytest.fixture(scope="session")
def pipeline(stack: StackStatus, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """6000 events with duplicates, late and bad records, all applied and acknowledged."""
    settings = Settings(
        kafka_bootstrap=stack.kafka_bootstrap,
        redis_url=stack.redis_url,
        clickhouse_shards=",".join(stack.shards),
        clickhouse_user=stack.clickhouse_user,
        clickhouse_password_file=stack.clickhouse_password_file,
        clickhouse_database=DATABASE,
        commit_interval_s=0.2,
        session_timeout_s=6.0,
        idle_close_s=1.0,
        grace_s=5,
        late_hold_s=1.0,
        rollup_interval_s=1.0,
    )
    for server in schema.servers(settings, app.clickhouse_tables):
        server.migrator.apply()
        server.replica.close()
    made = asyncio.run(_run(settings, tmp_path_factory.mktemp("state")))
    made.everywhere(
        *(
            f"CREATE TABLE {DATABASE}.{table}_kept ENGINE = MergeTree ORDER BY tuple() "
            f"AS SELECT * FROM {DATABASE}.{table}_local FINAL"
            for table in ("m1", "dead_letters", "ledger")
        )
    )
    yield made
    made.everywhere(f"DROP DATABASE {DATABASE}")
    for shard in made.shards:
        shard.close()


@pytest.fixture
def tampered(pipeline: Pipeline) -> Iterator[Pipeline]:
    """The pipeline for tests that change rows; the rows are restored afterwards."""
    yield pipeline
    for table in ("m1", "dead_letters", "ledger"):
        pipeline.everywhere(
            f"TRUNCATE TABLE {table}_local", f"INSERT INTO {table}_local SELECT * FROM {table}_kept"
        )


@pytest.fixture
def dia(
    stack: StackStatus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., tuple[int, str, str]]:
    """Run a command against the pipeline; return (exit code, stdout, stderr)."""
    monkeypatch.setenv("DIA_HOME", str(tmp_path))
    monkeypatch.setenv("DIA_KAFKA_BOOTSTRAP", stack.kafka_bootstrap)
    monkeypatch.setenv("DIA_CLICKHOUSE_SHARDS", ",".join(stack.shards))
    monkeypatch.setenv("DIA_CLICKHOUSE_USER", stack.clickhouse_user)
    monkeypatch.setenv("DIA_CLICKHOUSE_PASSWORD_FILE", stack.clickhouse_password_file)
    monkeypatch.setenv("DIA_CLICKHOUSE_DATABASE", DATABASE)

    def run(*args: str) -> tuple[int, str, str]:
        code = cli.main(args)
        return code, *capsys.readouterr()

    return run
