"""Saved views of the caller's token."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from streams.connect.access.tokens import Role
from streams.core.clock import Clock
from streams.http.console import parameters, reply
from streams.http.console.access.authorizer import Authorizer
from streams.http.console.access.saved_views import ViewFile


class _Save(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    address: str


class _Delete(msgspec.Struct, forbid_unknown_fields=True):
    id: str


@dataclass(eq=False)
class ViewHandler:
    """/api/views. Every role: a view changes only what its own token is shown."""

    _gate: Authorizer
    _views: ViewFile
    _clock: Clock

    async def listed(self, request: Request) -> Response:
        holder = self._gate.holder(request, Role.READ)
        found = await asyncio.to_thread(self._views.of, holder.token)
        return reply.json(request, {"views": found})

    async def save(self, request: Request) -> Response:
        holder = self._gate.holder(request, Role.READ)
        asked = await parameters.body(request, _Save)
        saving = (holder.token, asked.name, asked.address, self._clock.now_ms())
        view = await asyncio.to_thread(self._views.save, *saving)
        return reply.json(request, view)

    async def delete(self, request: Request) -> Response:
        holder = self._gate.holder(request, Role.READ)
        asked = await parameters.body(request, _Delete)
        await asyncio.to_thread(self._views.delete, holder.token, asked.id)
        return reply.json(request, {"deleted": asked.id})
