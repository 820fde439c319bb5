"""The shared layer in Redis: entries, floors and claims as keys, notices by publish/subscribe.

Keys are ``dia:{cache:name}:e`` (entry), ``:f`` (floor) and ``:c`` (claim); the braces give a name
one slot of a Redis Cluster, as a script needs."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.lock import Lock
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import LockNotOwnedError, RedisError

from streams.connect.cache.shared import FLOOR_TTL_S, CacheKey, Listener, Notice, SharedEntry
from streams.core.errors import CacheUnavailable

CHANNEL = "dia:invalidations"
EVENTS_CHANNEL = "dia:events"
_SCAN_COUNT = 500
_POLL_S = 1.0
_SILENCE_MAX_S = 5.0
"""Interval of a listener's pings: a connection can be dead without an error."""

log = structlog.get_logger(__name__)

_decode = msgspec.json.Decoder(tuple[str, str | None, str]).decode
_encode = msgspec.json.Encoder().encode
_GLOB_SPECIAL = re.compile(r"([*?\[\]\\^{}-])")


def connect(url: str, timeout_s: float, connections: int = 16, **options: Any) -> Redis:
    """It fails within ``timeout_s`` and does not retry: the breaker and its caller decide."""
    pool: BlockingConnectionPool = BlockingConnectionPool.from_url(
        url,
        max_connections=connections,
        timeout=timeout_s,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        **options,
    )
    return Redis.from_pool(pool)


@contextmanager
def answering() -> Iterator[None]:
    """Converts Redis errors to `CacheUnavailable`, and restores a cancellation that redis-py lost:
    in Python 3.11 `asyncio.wait_for` can lose one at the end of its wait (python/cpython#86296)."""
    asked = _cancellations()
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        _raise_swallowed(asked)
        raise CacheUnavailable(
            f"Redis does not answer ({type(error).__name__}: {error}). Events and windows are not "
            f"affected. Next: `dia doctor`."
        ) from error
    except ValueError as error:
        raise CacheUnavailable(
            f"Redis holds a foreign value under a name of dia ({error}). Events and windows are "
            f"not affected. Find its writer, and delete it."
        ) from error
    _raise_swallowed(asked)


def _cancellations() -> int:
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def _raise_swallowed(asked: int) -> None:
    if _cancellations() > asked:
        raise asyncio.CancelledError


@dataclass(slots=True)
class RedisClaim:
    """Only its owner can release it."""

    lock: Lock

    async def release(self) -> None:
        with answering():
            try:
                await self.lock.release()
            except LockNotOwnedError:
                return  # expired: another process may have it


class RedisShared:
    def __init__(self, client: Redis) -> None:
        self._client = client
        self._floor = client.register_script(FLOOR)
        self._advance = client.register_script(ADVANCE)

    async def read(self, key: CacheKey) -> SharedEntry:
        with answering():
            asked = self._client.pipeline(transaction=True)
            asked.mget([_key(key, "e"), _key(key, "f")])
            asked.pttl(_key(key, "e"))
            (entry, floor), rest_ms = await asked.execute()
        known = int(floor) if floor is not None else None
        if entry is None:
            return SharedEntry(known, None, None)
        version, _, body = entry.partition(b" ")
        if not version.isdigit():
            return SharedEntry(known, None, None)  # not written by dia
        return SharedEntry(known, int(version), body, max(0, rest_ms) / 1000)

    async def floor(self, key: CacheKey, *, stamped: bool) -> int:
        args = [_ms(FLOOR_TTL_S), int(stamped)]
        with answering():
            return int(await self._floor(keys=[_key(key, "f")], args=args))

    async def fill(self, key: CacheKey, floor: int, body: bytes, ttl_s: float) -> None:
        with answering():
            await self._client.set(_key(key, "e"), b"%d " % floor + body, px=_ms(ttl_s))

    async def advance(
        self,
        key: CacheKey,
        version: int | None,
        body: bytes | None,
        ttl_s: float,
        *,
        floored: bool = False,
    ) -> int | None:
        args: list[Any] = [
            "" if version is None else version,
            _ms(FLOOR_TTL_S),
            CHANNEL,
            key.cache,
            key.name,
            _ms(ttl_s),
            int(floored),
        ]
        if body is not None:
            args.append(body)
        with answering():
            told = await self._advance(keys=[_key(key, "e"), _key(key, "f")], args=args)
        return int(told) if told is not None else None

    async def matching(self, cache: str, pattern: str) -> AsyncIterator[str]:
        head, tail = f"dia:{{{cache}:", "}:f"
        match = _GLOB_SPECIAL.sub(r"\\\1", head) + pattern + _GLOB_SPECIAL.sub(r"\\\1", tail)
        with answering():
            async for found in self._client.scan_iter(match=match, count=_SCAN_COUNT):
                yield found.decode()[len(head) : -len(tail)]

    async def announce(self, notice: Notice) -> None:
        message = _encode((notice.cache, notice.name, str(notice.version)))
        with answering():
            await self._client.publish(CHANNEL, message)

    async def tell(self, event: bytes) -> None:
        with answering():
            await self._client.publish(EVENTS_CHANNEL, event)

    async def claim(self, key: CacheKey, ttl_s: float) -> RedisClaim | None:
        lock = self._client.lock(_key(key, "c"), timeout=ttl_s, blocking=False)
        with answering():
            return RedisClaim(lock) if await lock.acquire() else None

    async def listen(self, listener: Listener) -> None:
        asked = _cancellations()
        with answering():
            async with self._client.pubsub() as subscription:
                await subscription.subscribe(CHANNEL)
                while True:
                    message = await self._next(subscription, asked)
                    # redis-py resubscribes after its own reconnections: each confirmation may
                    # follow a gap.
                    if message["type"] == "subscribe":
                        listener.connected()
                    elif message["type"] == "message":
                        _hear(listener, message["data"])

    async def _next(self, subscription: Any, asked: int) -> dict[str, Any]:
        """Raises `TimeoutError` when the connection does not answer pings."""
        loop = asyncio.get_running_loop()
        asked_at: float | None = None
        while True:
            _raise_swallowed(asked)
            message: dict[str, Any] | None = await subscription.get_message(timeout=_POLL_S)
            if message is not None:
                return message
            if asked_at is None:
                asked_at = loop.time()
                await subscription.ping()
            elif loop.time() - asked_at > _SILENCE_MAX_S:
                raise TimeoutError(f"no answer to a ping within {_SILENCE_MAX_S:g} s")

    async def close(self) -> None:
        await self._client.aclose(close_connection_pool=True)


def _hear(listener: Listener, message: bytes) -> None:
    """A message that is no notice may come from a newer version of dia and concern any name, so
    every layer is cleared."""
    try:
        cache, name, version = _decode(message)
        notice = Notice(cache, name, int(version))
    except ValueError as error:
        log.warning("cache_notice_unreadable", bytes=len(message), why=str(error)[:200])
        listener.connected()
        return
    listener.heard(notice)


def _key(key: CacheKey, kind: str) -> str:
    return f"dia:{{{key.cache}:{key.name}}}:{kind}"


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))


FLOOR: Final = """
-- KEYS: floor. ARGV: floor TTL in ms, whether it is a stamp. Returns the floor; if there is none a
-- new one, by Redis's own clock.
local floor = redis.call('GET', KEYS[1])
if floor then return floor end
floor = '0'
if ARGV[2] == '1' then
  local now = redis.call('TIME')
  floor = string.format('%.0f', now[1] * 1000000 + now[2])
end
redis.call('SET', KEYS[1], floor, 'PX', ARGV[1])
return floor
"""

ADVANCE: Final = """
-- KEYS: entry, floor. ARGV: version or '', floor TTL in ms, channel, cache, name, entry TTL in ms,
-- whether there must be a floor, and the body, unless the entry is to be deleted.
-- Returns the floor, or false.
local known = redis.call('GET', KEYS[2])
if ARGV[7] == '1' and not known then return false end
local floor = tonumber(known or '0')
local version
if ARGV[1] == '' then
  local now = redis.call('TIME')
  version = math.max(now[1] * 1000000 + now[2], floor + 1)
else
  version = tonumber(ARGV[1])
end
if version < floor then return string.format('%.0f', floor) end
local text = string.format('%.0f', version)
redis.call('SET', KEYS[2], text, 'PX', ARGV[2])
if #ARGV == 8 then
  redis.call('SET', KEYS[1], text .. ' ' .. ARGV[8], 'PX', ARGV[6])
else
  redis.call('DEL', KEYS[1])
end
redis.call('PUBLISH', ARGV[3], cjson.encode({ARGV[4], ARGV[5], text}))
return text
"""
