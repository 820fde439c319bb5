"""A shared layer whose entries are valid only with a seal of this cluster: a client of Redis can
write any entry.

    "=" tag ends_ms:u64 body      tag = HMAC-SHA-256(secret, cache, name, ends_ms, body), 32 bytes

under the secret of DIA_CACHE_SECRET_FILE. An entry without a seal, with that of another name, or
past its end counts as absent. An old entry written back with a newer version has the effect of one
lost invalidation, until its end. Versions, floors, claims and notices only cause loads."""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import AsyncIterator
from typing import Final

import structlog

from streams.connect.cache.shared import CacheKey, Claim, Listener, Notice, SharedCache, SharedEntry
from streams.core.clock import Clock
from streams.core.errors import UsageError
from streams.core.settings import Settings, secret_file

SECRET_BYTES_MIN: Final = 16
SKEW_MS: Final = 30_000
"""between two machines"""
_MARK: Final = b"="
_TAG_BYTES: Final = hashlib.sha256().digest_size
_ENDS = struct.Struct(">Q")
_HEAD_BYTES: Final = len(_MARK) + _TAG_BYTES + _ENDS.size

log = structlog.get_logger(__name__)


def secret_of(settings: Settings) -> bytes:
    """b"" without one. Raises `UsageError`."""
    secret = secret_file.read("DIA_CACHE_SECRET_FILE", settings.cache_secret_file).encode()
    if secret and len(secret) < SECRET_BYTES_MIN:
        raise UsageError(
            f"DIA_CACHE_SECRET_FILE={settings.cache_secret_file} holds {len(secret)} bytes; a secret "
            f"has at least {SECRET_BYTES_MIN}: `head -c 32 /dev/urandom | base64`."
        )
    return secret


class SealedShared:
    def __init__(self, shared: SharedCache, secret: bytes, clock: Clock) -> None:
        self._shared = shared
        self._secret = secret
        self._clock = clock

    async def read(self, key: CacheKey) -> SharedEntry:
        stored = await self._shared.read(key)
        if stored.body is None:
            return stored
        body = self._opened(key, stored.body)
        if body is None:
            log.warning("cache_entry_not_authentic", cache=key.cache, bytes=len(stored.body))
            return SharedEntry(stored.floor, None, None)
        return stored._replace(body=body)

    async def floor(self, key: CacheKey, *, stamped: bool) -> int:
        return await self._shared.floor(key, stamped=stamped)

    async def fill(self, key: CacheKey, floor: int, body: bytes, ttl_s: float) -> None:
        await self._shared.fill(key, floor, self._closed(key, body, ttl_s), ttl_s)

    async def advance(
        self,
        key: CacheKey,
        version: int | None,
        body: bytes | None,
        ttl_s: float,
        *,
        floored: bool = False,
    ) -> int | None:
        closed = None if body is None else self._closed(key, body, ttl_s)
        return await self._shared.advance(key, version, closed, ttl_s, floored=floored)

    def matching(self, cache: str, pattern: str) -> AsyncIterator[str]:
        return self._shared.matching(cache, pattern)

    async def announce(self, notice: Notice) -> None:
        await self._shared.announce(notice)

    async def tell(self, event: bytes) -> None:
        await self._shared.tell(event)

    async def claim(self, key: CacheKey, ttl_s: float) -> Claim | None:
        return await self._shared.claim(key, ttl_s)

    async def listen(self, listener: Listener) -> None:
        await self._shared.listen(listener)

    async def close(self) -> None:
        await self._shared.close()

    def _closed(self, key: CacheKey, body: bytes, ttl_s: float) -> bytes:
        ends = _ENDS.pack(self._clock.now_ms() + round(ttl_s * 1000) + SKEW_MS)
        return _MARK + self._tag(key, ends, body) + ends + body

    def _opened(self, key: CacheKey, closed: bytes) -> bytes | None:
        if len(closed) < _HEAD_BYTES or not closed.startswith(_MARK):
            return None
        tag = closed[len(_MARK) : len(_MARK) + _TAG_BYTES]
        ends, body = closed[len(_MARK) + _TAG_BYTES : _HEAD_BYTES], closed[_HEAD_BYTES:]
        if not hmac.compare_digest(tag, self._tag(key, ends, body)):
            return None
        return body if self._clock.now_ms() < _ENDS.unpack(ends)[0] else None

    def _tag(self, key: CacheKey, ends: bytes, body: bytes) -> bytes:
        said = hmac.new(self._secret, digestmod=hashlib.sha256)
        for part in (*map(str.encode, key), ends, body):
            said.update(_ENDS.pack(len(part)) + part)
        return said.digest()
