"""/api/demo: faults, and the counts beside them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from streams.connect.access.tokens import Role
from streams.core.errors import DiaError
from streams.dev.demo.show.faults import DemoFaults
from streams.http.console import reply
from streams.http.console.access.authorizer import Authorizer
from streams.http.console.reply import Endpoint

Counts = Callable[[], Awaitable[Mapping[str, int]]]


class DemoHandler:
    """Admins of every tenant only."""

    def __init__(
        self, gate: Authorizer, faults: DemoFaults, counts: Counts, compared: Path
    ) -> None:
        self._gate = gate
        self._faults = faults
        self._counts = counts
        self._compared = compared

    def routes(self) -> dict[tuple[str, str], Endpoint]:
        return {
            ("GET", "/api/demo"): self._show,
            ("POST", "/api/demo/kill-worker"): self._doing(self._faults.kill_worker),
            ("POST", "/api/demo/stop-shard"): self._doing(self._faults.stop_shard),
            ("POST", "/api/demo/send-poison"): self._doing(self._faults.send_poison),
        }

    async def _show(self, request: Request) -> Response:
        self._require_admin(request)
        try:
            counts: Mapping[str, int] | None = await self._counts()
        except DiaError:
            counts = None
        return reply.json(request, {"counts": counts, "compared": checks(self._compared)})

    def _doing(self, fault: Callable[[], Awaitable[str]]) -> Endpoint:
        async def done(request: Request) -> Response:
            self._require_admin(request)
            return reply.json(request, {"said": await fault()})

        return done

    def _require_admin(self, request: Request) -> None:
        self._gate.holder(request, Role.ADMIN).require_everyone()


def checks(path: Path) -> list[dict[str, Any]]:
    """Empty before the demo wrote them."""
    try:
        found: list[dict[str, Any]] = msgspec.json.decode(path.read_bytes())
    except (OSError, ValueError):
        return []
    return found
