"""The other workers of this host, from their status files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx
import structlog

from streams.core.process.proxies import DIRECT
from streams.engine.health.live_workers import LiveWorker, live_workers
from streams.engine.pages.desk import FORWARDED
from streams.engine.pages.page_tables import KeyPlace
from streams.engine.streams.page import PageRequest, PageResponse

ANSWER_S: Final = 30.0
_PASSED_ON: Final = ("authorization", "content-type", "accept")

log = structlog.get_logger(__name__)


class WorkersHere:
    """Asks them on the loopback address with the client's token, which each checks itself."""

    def __init__(self, state: Path, slot: int, host: str) -> None:
        self._state = state
        self._slot = slot
        self._host = f"[{host}]" if ":" in host else host

    async def ask(self, place: KeyPlace, request: PageRequest) -> PageResponse | None:
        port = next((worker.pages_port for worker in self._others() if _has(worker, place)), None)
        if port is None:
            return None
        headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
        try:
            async with httpx.AsyncClient(timeout=ANSWER_S, mounts=DIRECT) as client:
                answer = await client.request(
                    request.method,
                    f"http://{self._host}:{port}{quote(request.path)}",
                    params=dict(request.query),
                    content=request.body,
                    headers=headers | {FORWARDED: "1"},
                )
        except httpx.HTTPError as error:
            log.warning("page_owner_away", port=port, why=f"{type(error).__name__}: {error}")
            return None
        return PageResponse(
            answer.content,
            answer.status_code,
            answer.headers.get("content-type", "application/octet-stream"),
            _own(answer.headers),
        )

    def _others(self) -> list[LiveWorker]:
        return [one for one in live_workers(self._state) if str(one.slot) != str(self._slot)]


def _has(worker: LiveWorker, place: KeyPlace) -> bool:
    wanted: dict[str, Any] = {**place._asdict(), "phase": "ready"}
    return worker.pages_port is not None and any(
        wanted.items() <= held.items() for held in worker.partitions
    )


def _own(headers: Mapping[str, str]) -> dict[str, str]:
    """The page's own headers, and those for retries and redirects."""
    passed = {"retry-after", "location"}
    return {k: v for k, v in headers.items() if k in passed or k.startswith("x-app-")}
