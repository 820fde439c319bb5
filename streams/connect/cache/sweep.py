"""Invalidates every name of a cache that matches a pattern."""

from __future__ import annotations

from streams.connect.cache.kind import CacheKind
from streams.connect.cache.shared import ENTRY_TTL_S, CacheKey, Notice, SharedCache


async def sweep(shared: SharedCache, kind: CacheKind, pattern: str) -> int:
    """In Redis and in every process; returns their number. Raises `CacheUnavailable` after a part
    of them; repeating is harmless."""
    names = {name async for name in shared.matching(kind.name, pattern)}
    for name in sorted(names):
        key = CacheKey(kind.name, name)
        # A stamp would exceed every version of the source, so its own floor is used.
        floor = (await shared.read(key)).floor or 0
        await shared.advance(key, floor if kind.versioned else None, None, ENTRY_TTL_S)
    # Clears names that are only in the L1 of a process and have no floor.
    await shared.announce(Notice(kind.name, None, 0))
    return len(names)
