"""Outages of a real Redis: the caches of two processes, and the administrator's command."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator

import pytest

from streams import cli
from streams.connect.cache.cache import Cache, SharedLayer, Versioned
from streams.connect.cache.invalidations import Invalidations
from streams.connect.cache.kind import POLICY, owned
from streams.connect.cache.redis import CHANNEL, RedisShared, connect
from streams.connect.cache.sealed import SealedShared
from streams.core.clock import SystemClock
from streams.core.errors import CacheUnavailable
from streams.core.resilience.breaker import Breaker, BreakerPolicy
from streams.core.telemetry.metrics import Metrics
from tests.contract.cache.conftest import until
from tests.contract.cache.redis_process import RedisProcess

pytestmark = pytest.mark.stack
BREAKER = BreakerPolicy(failures=3, open_s=0.1, successes=1)


class Process:
    """The caches of one process on a real Redis."""

    def __init__(self, url: str, source: dict[str, str]) -> None:
        clock, metrics = SystemClock(), Metrics()
        self.metrics = metrics
        self.shared = SealedShared(RedisShared(connect(url, 0.3)), b"of this contract only", clock)
        self.breaker = Breaker("redis", BREAKER, (CacheUnavailable,), clock, metrics)
        self.invalidations = Invalidations(self.shared, clock, metrics)
        layer = SharedLayer(self.shared, self.breaker, self.invalidations, sealed=True)
        self.cache: Cache[str] = Cache(
            POLICY, encode=str.encode, decode=bytes.decode, clock=clock, metrics=metrics,
            layer=layer,
        )  # fmt: skip
        self.source = source
        self.name = next(iter(source))
        self.listening = asyncio.create_task(self.invalidations.run())

    async def get(self, name: str = "") -> str | None:
        name = name or self.name

        async def load() -> Versioned[str]:
            return Versioned(self.source.get(name))

        return await self.cache.get(name, load)

    @property
    def swept(self) -> float:
        """Notices received."""
        heard = {"cache": POLICY.name, "cause": "heard"}
        registry = self.metrics.registry
        return registry.get_sample_value("dia_cache_invalidations_total", heard) or 0.0

    async def close(self) -> None:
        self.listening.cancel()
        await asyncio.gather(self.listening, return_exceptions=True)
        await self.cache.close()
        await self.shared.close()


@pytest.fixture
async def pair(redis_server: RedisProcess) -> AsyncIterator[tuple[Process, Process]]:
    source = {owned(f"acme-{uuid.uuid4().hex}", "p"): "old"}
    both = Process(redis_server.url, source), Process(redis_server.url, source)
    await until(lambda: all(process.invalidations.live for process in both))
    yield both
    for process in both:
        await process.close()


async def _change_until_accepted(process: Process) -> None:
    """Repeat a change until Redis accepts it, as the outbox does."""
    async with asyncio.timeout(200):
        while True:
            try:
                return await process.cache.invalidate(process.name)
            except CacheUnavailable:
                await asyncio.sleep(0.05)


async def _recovered(processes: tuple[Process, Process]) -> None:
    await until(lambda: all(process.invalidations.live for process in processes))


@pytest.mark.parametrize("fault", ["stop", "pause"])
async def test_a_change_during_an_outage_is_visible_to_all_processes_after_it(
    pair, redis_server, fault
):
    """An alias that moved while Redis was stopped or silent must not be served from a cache
    afterwards."""
    one, two = pair
    assert (await one.get(), await two.get()) == ("old", "old")
    getattr(redis_server, fault)()
    for i in range(5):
        assert await one.get(f"5:other/{i}") is None
    assert one.breaker.state != "closed"
    one.source[one.name] = "new"
    telling = asyncio.create_task(_change_until_accepted(one))
    await asyncio.sleep(0.1)
    assert not telling.done()
    if fault == "stop":
        redis_server.start()
    else:
        redis_server.resume()
    await telling
    await _recovered(pair)
    assert (await one.get(), await two.get()) == ("new", "new")
    await until(lambda: one.breaker.state != "open")
    await one.get("5:other/again")
    assert one.breaker.state == "closed"


async def test_garbage_in_redis_stops_no_listener_and_hides_no_value(pair, redis_server):
    """Other clients may write to Redis: one malformed message must not end the subscriptions."""
    first, second = pair
    assert await first.get() == await second.get() == "old"
    client = connect(redis_server.url, 2.0)
    for message in (b"x", b"\xff\xfe", b"[1]", b'["policy", "p", "x"]'):
        await client.publish(CHANNEL, message)
    place = f"dia:{{{POLICY.name}:{first.name}}}"
    for name, value in (("e", b"x +new"), ("e", b"999 +new"), ("f", b"x")):
        await client.set(f"{place}:{name}", value)
        assert await first.get() == "old"
        assert await second.get() == "old"
    await client.delete(f"{place}:e", f"{place}:f")
    await client.aclose(close_connection_pool=True)
    first.source[first.name] = "new"
    heard = second.swept
    await first.cache.invalidate(first.name)
    await until(lambda: second.swept > heard)
    assert await second.get() == "new"


async def test_the_command_makes_every_process_reload(pair, redis_server, monkeypatch, capsys):
    """An operator corrected a policy directly in the policy service."""
    one, two = pair
    one.source[one.name] = "before"
    await _change_until_accepted(one)
    assert (await one.get(), await two.get()) == ("before", "before")
    one.source[one.name] = "mended"
    monkeypatch.setenv("DIA_REDIS_URL", redis_server.url)
    command = ("cache", "invalidate", "policy", f"*:{one.name.partition(':')[2]}", "--json")
    swept = one.swept, two.swept
    assert await asyncio.to_thread(cli.main, command) == 0
    assert json.loads(capsys.readouterr().out)["names"] == 1
    await until(lambda: one.swept > swept[0] and two.swept > swept[1])
    assert (await one.get(), await two.get()) == ("mended", "mended")


@pytest.mark.parametrize(("argv", "code"), [(("nothing", "*"), 2), (("policy", "*"), 4)])
def test_the_command_reports_what_it_cannot_do(monkeypatch, tmp_path, argv, code):
    """A sweep that deleted nothing must not report success."""
    monkeypatch.setenv("DIA_HOME", str(tmp_path))
    monkeypatch.setenv("DIA_REDIS_URL", "redis://127.0.0.1:9/0")
    assert cli.main(("cache", "invalidate", *argv)) == code
