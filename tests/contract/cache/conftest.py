"""Shared cache layers under test: the in-memory one and a real Redis (marker stack)."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from streams.connect.cache.memory import MemoryShared
from streams.connect.cache.redis import RedisShared, connect
from streams.connect.cache.sealed import SealedShared
from streams.connect.cache.shared import CacheKey, Notice, SharedCache
from streams.core.clock import SystemClock
from streams.dev.local.ports import LOOPBACK, free_ports
from tests.contract.cache.redis_process import RedisProcess

PATIENCE_S = 200.0


class RecordingListener:
    """A listener that records connections and notices."""

    def __init__(self) -> None:
        self.connections = 0
        self.notices: list[Notice] = []

    def connected(self) -> None:
        self.connections += 1

    def heard(self, notice: Notice) -> None:
        self.notices.append(notice)


class Pod:
    """One process's view of the layer under test; its cache names are unique to the test."""

    def __init__(self, shared: SharedCache, url: str = "") -> None:
        self.shared = shared
        self.url = url
        self.cache = f"cache-{uuid.uuid4().hex[:8]}"
        self._tasks: list[asyncio.Task[None]] = []

    def key(self, name: str = "name") -> CacheKey:
        return CacheKey(self.cache, name)

    async def listening(self) -> tuple[RecordingListener, asyncio.Task[None]]:
        """Start a listener; return it once it is connected, with its task."""
        ear = RecordingListener()
        task = asyncio.create_task(self.shared.listen(ear))
        self._tasks.append(task)
        await until(lambda: ear.connections or task.done())
        return ear, task

    async def sever(self) -> None:
        """Cut the connections of all listeners."""
        if isinstance(self.shared, SealedShared):
            self.shared._shared.cut()
        elif isinstance(self.shared, MemoryShared):
            self.shared.cut()
        else:
            admin = connect(self.url, 2.0)
            await admin.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            await admin.aclose(close_connection_pool=True)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.shared.close()


async def until(done: Callable[[], object]) -> None:
    """Poll until `done()` is true, at most PATIENCE_S."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if done():
                return
            await asyncio.sleep(0.005)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    """A separate Redis server, because these tests stop and restart it."""
    server = RedisProcess(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(params=["memory", "sealed", pytest.param("redis", marks=pytest.mark.stack)])
async def pod(request: pytest.FixtureRequest) -> AsyncIterator[Pod]:
    """The layer under test."""
    if request.param == "memory":
        pod = Pod(MemoryShared(SystemClock()))
    elif request.param == "sealed":
        clock = SystemClock()
        pod = Pod(SealedShared(MemoryShared(clock), b"of this contract only", clock))
    else:
        url = request.getfixturevalue("redis_server").url
        pod = Pod(RedisShared(connect(url, 2.0)), url)
    yield pod
    await pod.close()


@pytest.fixture(params=["memory", "redis"])
async def away(request: pytest.FixtureRequest) -> AsyncIterator[Pod]:
    """A layer whose server is unreachable."""
    if request.param == "memory":
        pod = Pod(MemoryShared(SystemClock(), away=True))
    else:
        pod = Pod(RedisShared(connect(f"redis://{LOOPBACK}:{free_ports(1)[0]}/0", 2.0)))
    yield pod
    await pod.close()
