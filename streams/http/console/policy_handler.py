"""POST /admin/policy/changed: a policy service reports a changed policy."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from streams.connect.access.tokens import Role
from streams.connect.cache.cache import SharedLayer
from streams.connect.policy.change import policy_changed
from streams.core.clock import Clock
from streams.core.errors import CacheUnavailable
from streams.core.words.naming import NAME_CHARS_MAX
from streams.http.console import parameters, reply
from streams.http.console.access.authorizer import Authorizer
from streams.http.console.access.operations import Operations

_Name = Annotated[str, Meta(min_length=1, max_length=NAME_CHARS_MAX)]


class _Changed(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    tenant_id: _Name
    policy_id: _Name


class PolicyHandler:
    def __init__(
        self, gate: Authorizer, layer: SharedLayer | None, operations: Operations, clock: Clock
    ) -> None:
        self._gate = gate
        self._layer = layer
        self._operations = operations
        self._clock = clock

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
