"""The other workers: those of this host from their status files, those of other hosts from the
members of the group (docs/protocols/stream_agents.md, V2)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import httpx
import structlog

from streams.connect.access.refusals import PageTimeout
from streams.core.errors import UsageError
from streams.core.process.proxies import DIRECT
from streams.engine.health.live_workers import LiveWorker, live_workers
from streams.engine.pages.desk import FORWARDED, PAGE_S
from streams.engine.pages.group_members import GroupMembers
from streams.engine.pages.page_tables import COMMIT_WAIT_S, KeyPlace
from streams.engine.streams.page import READING, PageRequest, PageResponse

ANSWER_S: Final = PAGE_S + COMMIT_WAIT_S + 5.0
"""longer than that worker takes at most"""
_UNRECEIVED: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.InvalidURL)
_PASSED_ON: Final = ("authorization", "content-type", "accept")

log = structlog.get_logger(__name__)


def check_peers(peers: str) -> None:
    """Raises `UsageError` for a DIA_PAGES_PEERS that is no address of hosts by name."""
    if not peers:
        return
    try:
        at = peers.format(host="host", port=1)
        known = at != peers.format(host="other", port=1)
    except (KeyError, IndexError, ValueError, AttributeError):
        at, known = "", False
    if not known or not at.startswith("https://"):
        raise UsageError(
            f"DIA_PAGES_PEERS={peers!r} is no address of other hosts: write "
            "https://{host}.workers:{port}. It must be https, as tokens are shown there."
        )


class WorkersHere:
    """Asks them on the loopback address with the client's token, which each checks itself."""

    def __init__(self, state: Path, slot: int, host: str) -> None:
        self._state = state
        self._slot = slot
        self._host = f"[{host}]" if ":" in host else host

    async def ask(self, place: KeyPlace, request: PageRequest) -> PageResponse | None:
        port = next((worker.pages_port for worker in self._others() if _has(worker, place)), None)
        return None if port is None else await _asked(f"http://{self._host}:{port}", request)

    def opening(self, place: KeyPlace) -> int | str | None:
        """The slot of a worker of this host, which may be this one, that has the partition and has
        not opened it."""
        wanted = place._asdict()
        return next(
            (
                worker.slot
                for worker in live_workers(self._state)
                for held in worker.partitions
                if wanted.items() <= held.items() and held["phase"] != "ready"
            ),
            None,
        )

    def _others(self) -> list[LiveWorker]:
        return [one for one in live_workers(self._state) if str(one.slot) != str(self._slot)]


class KnownWorkers:
    """Those of this host, then those of other hosts, at the address ``peers``; "": these are named
    and not asked. ``first_port``: of the pages of slot 0."""

    def __init__(
        self, here: WorkersHere, members: GroupMembers, peers: str, first_port: int
    ) -> None:
        self._here = here
        self._members = members
        self._peers = peers
        self._first_port = first_port

    async def ask(self, place: KeyPlace, request: PageRequest) -> PageResponse | None:
        answered = await self._here.ask(place, request)
        if answered is not None or not self._peers or self._here.opening(place) is not None:
            return answered
        worker = await self._members.of(place)
        if worker is None:
            return None
        port = self._first_port + worker.slot
        return await _asked(self._peers.format(host=worker.host, port=port), request)

    async def where(self, place: KeyPlace) -> str:
        slot = self._here.opening(place)
        if slot is not None:
            return f"The worker in slot {slot} of this host opens its partition: ask again."
        worker = await self._members.of(place)
        if worker is None:
            return ""
        way = (
            "It gave no answer: ask again."
            if self._peers
            else "Ask that host, or set DIA_PAGES_PEERS so that this worker asks it."
        )
        return (
            f"Partition {place.partition} of {place.topic} belongs to the worker in slot "
            f"{worker.slot} of host {worker.host}. {way}"
        )


async def _asked(base: str, request: PageRequest) -> PageResponse | None:
    """The answer of the worker at ``base``; None without one. Raises `PageTimeout` if it may have
    run a page that changes something: the page must not run again."""
    headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
    try:
        async with httpx.AsyncClient(timeout=ANSWER_S, mounts=DIRECT) as client:
            answer = await client.request(
                request.method,
                f"{base.rstrip('/')}{request.sent_path}",
                params=dict(request.query),
                content=request.body,
                headers=headers | {FORWARDED: "1"},
            )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        log.warning("page_owner_away", at=base, why=f"{type(error).__name__}: {error}")
        if request.method in READING or isinstance(error, _UNRECEIVED):
            return None
        raise PageTimeout(
            f"the worker that has the key got this {request.method} and gave no answer: what the page "
            "does may have happened. Look before you send it again."
        ) from error
    return PageResponse(
        answer.content,
        answer.status_code,
        answer.headers.get("content-type", "application/octet-stream"),
        _own(answer.headers),
    )


def _has(worker: LiveWorker, place: KeyPlace) -> bool:
    wanted: dict[str, Any] = {**place._asdict(), "phase": "ready"}
    return worker.pages_port is not None and any(
        wanted.items() <= held.items() for held in worker.partitions
    )


def _own(headers: Mapping[str, str]) -> dict[str, str]:
    """The page's own headers, and those for retries and redirects."""
    passed = {"retry-after", "location"}
    return {k: v for k, v in headers.items() if k in passed or k.startswith("x-app-")}
