"""POST /admin/...: an administrator clears cache entries, or a policy service reports a changed
policy, in every process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from streams.connect.access.refusals import BadRequest
from streams.connect.access.tokens import Role
from streams.connect.cache.cache import SharedLayer
from streams.connect.cache.invalidations import sweep
from streams.connect.cache.kind import KINDS
from streams.connect.policy.change import policy_changed
from streams.core.clock import Clock
from streams.core.errors import CacheUnavailable
from streams.core.words.naming import NAME_CHARS_MAX
from streams.http.console import parameters, reply
from streams.http.console.access.authorizer import Authorizer
from streams.http.console.access.operations import Operations


class _Invalidate(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    cache: str
    pattern: str


@dataclass(eq=False)
class CacheHandler:
    """A pattern reaches every tenant, so a bound token is refused."""

    _gate: Authorizer
    _layer: SharedLayer | None
    _operations: Operations

    async def invalidate(self, request: Request) -> Response:
        holder = self._gate.holder(request, Role.ADMIN)
        holder.require_everyone()
        asked = await parameters.body(request, _Invalidate)
        if asked.cache not in KINDS:
            raise BadRequest(f"there is no cache of that name; known are {', '.join(KINDS)}")
        if not 1 <= len(asked.pattern) <= NAME_CHARS_MAX:
            raise BadRequest("a pattern has 1 to 128 characters")
        if self._layer is None:
            raise CacheUnavailable("no Redis address is known: set DIA_REDIS_URL.")
        subject = {"cache": asked.cache, "pattern": asked.pattern}
        async with self._operations.noted(holder, "cache_invalidate", subject, begins=False):
            names = await sweep(self._layer.shared, KINDS[asked.cache], asked.pattern)
        return reply.json(request, {**subject, "names": names})


_Name = Annotated[str, Meta(min_length=1, max_length=NAME_CHARS_MAX)]


class _Changed(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    tenant_id: _Name
    policy_id: _Name


@dataclass(eq=False)
class PolicyHandler:
    _gate: Authorizer
    _layer: SharedLayer | None
    _operations: Operations
    _clock: Clock

    async def changed(self, request: Request) -> Response:
        holder = self._gate.holder(request, Role.ADMIN)
        asked = await parameters.body(request, _Changed)
        holder.tenant(asked.tenant_id)
        if self._layer is None:
            raise CacheUnavailable("no Redis address is known: set DIA_REDIS_URL.")
        subject = {"tenant_id": asked.tenant_id, "policy_id": asked.policy_id}
        async with self._operations.noted(holder, "policy_changed", subject, begins=False):
            await policy_changed(
                self._layer.shared,
                asked.tenant_id,
                asked.policy_id,
                self._clock.now_ms(),
                holder.actor,
            )
        return reply.json(request, {**subject, "event": "PolicyChanged"})
