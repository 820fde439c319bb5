"""One-off work, such as migrations, by one process at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import TypeVar

import structlog

from streams.connect.cache.redis import connect
from streams.connect.coordination.lease import Lease, hold
from streams.connect.coordination.redis_locks import RedisLocks
from streams.core.clock import SystemClock
from streams.core.errors import CacheUnavailable
from streams.core.settings import Settings

T = TypeVar("T")
WAIT_S = 60.0

log = structlog.get_logger(__name__)


async def exclusively(
    settings: Settings, names: str | Sequence[str], work: Callable[[Callable[[], None]], T]
) -> T:
    """Run ``work(check)`` in a thread under the locks ``names``, taken in this order; it calls ``check``
    before each step.

    Runs without the lock if Redis is unavailable, so that a repair is possible: the work must be
    idempotent. Raises `LockBusy`; ``check`` raises `LeaseLost`."""
    if not settings.redis_url:
        return await asyncio.to_thread(work, _unchecked)
    client = connect(settings.redis_url, settings.redis_timeout_s, **settings.redis_options())
    async with AsyncExitStack() as stack:
        stack.push_async_callback(client.aclose, close_connection_pool=True)
        held: list[Lease] = []
        for name in [names] if isinstance(names, str) else names:
            holding = hold(RedisLocks(client), SystemClock(), name, wait_s=WAIT_S)
            try:
                held.append(await stack.enter_async_context(holding))
            except CacheUnavailable as error:
                log.warning("lock_unavailable", lock=name, why=str(error))

        def check() -> None:
            for lease in held:
                lease.check()

        return await asyncio.to_thread(work, check)


def _unchecked() -> None:
    """The check without a lock."""
