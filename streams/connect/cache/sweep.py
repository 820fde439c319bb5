"""The administrator's broom: forget every name of a cache that matches a pattern."""

from __future__ import annotations

from streams.connect.cache.kind import CacheKind
from streams.connect.cache.shared import ENTRY_TTL_S, CacheKey, Notice, SharedCache


async def sweep(shared: SharedCache, kind: CacheKind, pattern: str) -> int:
    """Invalidate what matches the glob, in Redis and in every process; how many names matched.

    Raises `CacheUnavailable`; then some of them may be swept. Sweeping again is harmless.
    """
    names = {name async for name in shared.matching(kind.name, pattern)}
    for name in sorted(names):
        key = CacheKey(kind.name, name)
        # A stamp would outrank every version the source will ever name: its own floor, then.
        floor = (await shared.read(key)).floor or 0
        await shared.advance(key, floor if kind.versioned else None, None, ENTRY_TTL_S)
    # Names that only some process's L1 holds have no floor any more.
    await shared.announce(Notice(kind.name, None, 0))
    return len(names)
