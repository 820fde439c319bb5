"""A request that fails after its caller has given up."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest

from streams.connect.sinks.clickhouse import Shard
from streams.connect.sinks.replica_group import ReplicaGroup
from streams.core.errors import ShardUnavailable


class NoReplica:
    url = "http://127.0.0.1:1"

    def close(self) -> None: ...


async def test_a_failure_after_the_deadline_is_not_logged():
    """The caller already got the timeout; asyncio's error log about the late failure would only
    mislead.
    """
    told: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    shard = Shard(0, ReplicaGroup([NoReplica()]), pool_size=1, acquire_s=1.0)
    gave_up, ended = threading.Event(), threading.Event()

    def fails_late(_: NoReplica) -> None:
        gave_up.wait(10)
        ended.set()
        raise ShardUnavailable("read timed out")

    with pytest.raises(ShardUnavailable, match="did not answer"):
        await shard.run(fails_late, 0.01)
    gave_up.set()
    assert await asyncio.to_thread(ended.wait, 10)
    # The pool's only thread is free again once the late failure has been delivered.
    assert await shard.run(lambda _: "free", 10.0) == "free"
    gc.collect()
    await asyncio.sleep(0)
    shard.close()
    assert told == []
