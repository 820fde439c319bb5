"""``/live/...``: sends changes to browsers, read once for all watchers.

A stream ends after a minute, and the browser reconnects: a revoked token or an ended session
receives nothing for longer."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from streams.connect.access.fair_share import within_share
from streams.connect.access.refusals import Overloaded
from streams.connect.access.tokens import Role
from streams.http.console.access.authorizer import Principal
from streams.http.console.app import Console
from streams.http.console.pages.channel import Channel, Read
from streams.http.console.parameters import Parameters

LASTING_S = 60.0
HEARTBEAT_S = 15.0
OVERVIEW_EVERY_S = 5.0
"""Longest delay of a change; its figures from ClickHouse are read every 30 s."""
PLAN_EVERY_S = 1.0
PIPELINE_EVERY_S = 5.0
MESSAGES_EVERY_S = 1.0
CHANNELS_MAX = 100
WATCHERS_MAX = 500
"""Half of the server's connections: the others serve requests."""


class ChannelKey(NamedTuple):
    """Tenants never share a channel."""

    owner: str
    what: tuple[str, ...]


class Live:
    """The channels of one process. An owner has at most as many channels and watchers as remain for
    others."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._channels: dict[ChannelKey, Channel] = {}

    async def overview(self, request: Request) -> Response:
        """Events of the JSON of ``GET /overview``."""
        holder = self._console.gate.holder(request, Role.READ)
        return self._stream(
            ChannelKey(holder.owner, ("overview",)),
            lambda: self._console.overview.read(holder),
            OVERVIEW_EVERY_S,
        )

    async def plan(self, request: Request) -> Response:
        """Events of the JSON of ``GET /api/dlq/plans/{plan}``."""
        holder = self._console.gate.holder(request, Role.READ)
        plan = request.path_params["plan"]
        # raises for an unknown plan before a channel is opened
        await self._console.plans.progress(holder, plan)
        return self._stream(
            ChannelKey(holder.owner, ("plan", plan)),
            lambda: self._progress(holder, plan),
            PLAN_EVERY_S,
        )

    async def _progress(self, holder: Principal, plan: str) -> bytes:
        return msgspec.json.encode(await self._console.plans.progress(holder, plan))

    async def pipeline(self, request: Request) -> Response:
        """Events of the JSON of ``GET /api/pipeline``."""
        holder = self._console.gate.holder(request, Role.ADMIN)
        return self._stream(
            ChannelKey(holder.owner, ("pipeline",)),
            lambda: self._console.pipeline.read(holder),
            PIPELINE_EVERY_S,
        )

    async def messages(self, request: Request) -> Response:
        """Events of the newest messages since the stream began, as JSON."""
        holder = self._console.gate.holder(request, Role.READ)
        asked = self._console.logs.messages.query(holder, Parameters(request))
        return self._stream(
            ChannelKey(holder.owner, ("messages", *asked.asked)),
            self._console.logs.messages.tail(holder, asked),
            MESSAGES_EVERY_S,
        )

    def _stream(self, subject: ChannelKey, read: Read, every_s: float) -> Response:
        """Raises `Overloaded` beyond the bounds."""
        channels = self._channels = {
            name: one for name, one in self._channels.items() if one.watchers
        }
        mine = [one for name, one in channels.items() if name.owner == subject.owner]
        watchers = sum(one.watchers for one in channels.values())
        if not _fits(sum(one.watchers for one in mine), watchers, WATCHERS_MAX):
            raise Overloaded("too many live streams are open", retry_after_s=10)
        channel = channels.get(subject)
        if channel is None:
            if not _fits(len(mine), len(channels), CHANNELS_MAX):
                raise Overloaded("too many subjects have live streams", retry_after_s=10)
            channel = channels[subject] = Channel(read, every_s, self._console.clock)
        return StreamingResponse(
            channel.events(LASTING_S, HEARTBEAT_S),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )


def _fits(mine: int, taken: int, most: int) -> bool:
    """Whether an owner with ``mine`` may have one more of ``most``, of which ``taken`` are in
    use."""
    return within_share(mine + 1, most - taken - 1)
