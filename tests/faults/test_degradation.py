"""A failing dependency raises a level, delays work, and the level falls after recovery."""

from __future__ import annotations

import asyncio
import json
import time
import uuid

import httpx

from agents.app import TRAIN_RESULTS
from streams.connect.cache.model_card_reader import ModelCardReader
from streams.connect.cache.process import ProcessCaches
from streams.core.clock import SystemClock
from streams.core.telemetry.metrics import Metrics
from tests.faults.services import absent
from tests.faults.shard_proxy import Weather
from tests.faults.worker import AGENTS, POLL_S

AWAY_S = 60.0
TENANT = "faults"


def _result(model, event, version, **fields):
    said = {
        "result_id": uuid.uuid4().hex,
        "run_id": f"run-{version}",
        "tenant_id": TENANT,
        "model_id": model,
        "version": version,
        "event": event,
        "metrics": {},
        "ts": SystemClock().now_ms(),
    }
    return json.dumps({**said, **fields}).encode()


class Readers:
    """A process that caches a model's card, as an API does, during the outage."""

    def __init__(self, trial, model):
        clock, self.metrics = SystemClock(), Metrics()
        self._caches = ProcessCaches(trial.settings, clock, self.metrics)
        self._reader = ModelCardReader(trial.settings, clock, self.metrics, self._caches.layer)
        self._model = model
        self._caches.start()

    async def alias(self):
        card = await self._reader.card(TENANT, self._model)
        return card.aliases.get("champion") if card is not None else None

    async def until(self, version):
        async with asyncio.timeout(60):
            while await self.alias() != version:  # noqa: ASYNC110 - another process tells
                await asyncio.sleep(POLL_S)

    def sample(self, name, **labels):
        return self.metrics.registry.get_sample_value(f"dia_{name}", labels)

    async def close(self):
        await self._reader.close()
        await self._caches.close()


async def _tell(trial, model, *values):
    producer = trial.broker.plain_producer()
    await producer.start()
    for value in values:
        await (await producer.send(TRAIN_RESULTS.name, model.encode(), value))
    await producer.close()


def _level(told, signal):
    causes = {cause.signal: cause.level for cause in told.degradation.causes}
    return causes.get(signal, 0)


async def test_redis_gone_for_a_minute_under_load_leaves_no_stale_alias(trial, report):
    """Events are processed, breaker and level are visible, and after the outage every reader
    applies an invalidation that no process could receive."""
    model = f"m-{uuid.uuid4().hex[:8]}"
    worker = trial.worker(agents=f"{AGENTS},record_training")
    await worker.ready()
    readers = Readers(trial, model)
    runs = [_result(model, "run_completed", version) for version in ("1", "2")]
    await _tell(trial, model, *runs, _result(model, "alias_updated", "1", alias="champion"))
    await readers.until("1")
    await worker.until(lambda told: told.degradation.level == 0)
    trial.feed(int(3000 * AWAY_S), rate_per_s=3000)
    away = absent(trial.stack.home, "redis")
    began = time.monotonic()
    await asyncio.to_thread(away.__enter__)
    try:
        await _tell(trial, model, _result(model, "alias_updated", "2", alias="champion"))
        await worker.until(lambda told: _level(told, "redis") == 2)
        async with asyncio.timeout(30):
            while not readers.sample("breaker_state", dependency="redis", state="open"):
                assert await readers.alias() in {"1", "2"}
                await asyncio.sleep(POLL_S)
        async with httpx.AsyncClient() as http:
            port = worker.told().http_port
            shown = (await http.get(f"http://127.0.0.1:{port}/metrics")).text
        assert "dia_degradation_level 2.0" in shown
        assert 'dia_degradation_signal_level{signal="redis"} 2.0' in shown
        read = await trial.reading.unread()
        await asyncio.sleep(max(0.0, AWAY_S - (time.monotonic() - began)))
        assert await trial.reading.unread() < read + 3 * trial.rate_per_s, "events go on"
    finally:
        await asyncio.to_thread(away.__exit__, None, None, None)
    await worker.until(lambda told: _level(told, "redis") == 0, 90.0)
    fresh = Readers(trial, model)
    await readers.until("2")
    await fresh.until("2")
    assert await readers.alias() == await fresh.alias() == "2", "and it stays so"
    await readers.close()
    await fresh.close()
    report(await trial.exact(f"Redis gone for {AWAY_S:g} s under load"))
    assert worker.exit_code is None, worker.tail()


async def test_a_shard_that_is_away_raises_the_level_and_it_falls(trial, proxies, report):
    """The level follows measurements: it rises within seconds, falls slowly, and nothing is lost."""
    worker = trial.worker()
    await worker.ready()
    trial.feed(60_000, rate_per_s=3000)
    proxies[0].weather = Weather.CUT_ANSWER
    await worker.until(lambda told: _level(told, "clickhouse-0") == 2)
    assert _level(worker.told(), "clickhouse-1") == 0
    proxies[0].weather = Weather.FAIR
    await worker.until(lambda told: told.degradation.level == 0, 120.0)
    report(await trial.exact("a shard away until it showed"))
