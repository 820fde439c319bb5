"""A separate Redis server for this suite."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.cache.redis_process import RedisProcess


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    server = RedisProcess(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()
