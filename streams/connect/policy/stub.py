"""A policy service for tests and the demo, whose failures are a script.

async with StubPolicyService() as stub:
    stub.policies.append(Policy(...))
    stub.script += ["error", "hang", "garbage"]     # the next three policies; then it answers
    stub.failing.add("p1")                          # every request for this policy fails
    stub.down = True                                # every request fails
"""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType
from typing import Literal, Self, TypeAlias

import msgspec
from aiohttp import web

from streams.connect.policy.policy import Policy
from streams.connect.policy.service import PROBE

Behaviour: TypeAlias = Literal["answer", "error", "hang", "garbage", "other"]
"""``other`` responds with another policy than requested."""

_LOOPBACK = "127.0.0.1"


class StubPolicyService:
    def __init__(self) -> None:
        self.policies: list[Policy] = []
        self.script: deque[Behaviour] = deque()
        self.failing: set[str] = set()
        self.down = False
        self.asked: list[str] = []
        """the policy of each request"""
        self.tokens: list[str] = []
        """the Authorization header of each request"""
        self.url = ""
        self._stopped = asyncio.Event()
        self._runner: web.AppRunner | None = None

    @property
    def requests(self) -> int:
        return len(self.tokens)

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/v1/policies/{tenant}/{policy}", self._serve)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, _LOOPBACK, 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.url = f"http://{_LOOPBACK}:{port}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()
        assert self._runner is not None
        await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.Response:
        self.tokens.append(request.headers.get("Authorization", ""))
        tenant, name = request.match_info["tenant"], request.match_info["policy"]
        self.asked.append(name)
        match self._behaviour(name):
            case "error":
                return web.Response(status=503)
            case "garbage":
                return web.Response(text="<html>")
            case "other":
                return _json(Policy(tenant_id=tenant, policy_id=name + "x"))
            case "hang":
                await self._stopped.wait()
        found = [p for p in self.policies if (p.tenant_id, p.policy_id) == (tenant, name)]
        return _json(found[-1]) if found else web.Response(status=404)

    def _behaviour(self, policy_id: str) -> Behaviour:
        if self.down or policy_id in self.failing:
            return "error"
        scripted = self.script and policy_id != PROBE[1]
        return self.script.popleft() if scripted else "answer"


def _json(policy: Policy) -> web.Response:
    return web.Response(body=msgspec.json.encode(policy), content_type="application/json")
