"""PolicyChanged: invalidates a policy in every process and publishes the event."""

from __future__ import annotations

import msgspec

from streams.connect.cache.kind import POLICY, owned
from streams.connect.cache.shared import ENTRY_TTL_S, CacheKey, SharedCache


async def policy_changed(
    shared: SharedCache, tenant_id: str, policy_id: str, now_ms: int, actor: str
) -> None:
    """Raises `CacheUnavailable`: the event may be lost; repeat the call."""
    key = CacheKey(POLICY.name, owned(tenant_id, policy_id))
    await shared.advance(key, None, None, ENTRY_TTL_S)
    event = {
        "event": "PolicyChanged",
        "tenant_id": tenant_id,
        "policy_id": policy_id,
        "actor": actor,
        "ts": now_ms,
    }
    await shared.tell(msgspec.json.encode(event))
