"""The edge and the console under load, by one HTTP client without retries: a retry would hide what
is to be measured."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, Self
from urllib.parse import urlsplit

import aiohttp
import msgspec

from streams.connect.access.listening import is_loopback
from streams.core.errors import DependencyUnreachable, UsageError
from streams.operate.loadtest.event_template import MadeEvent
from streams.operate.loadtest.recorder import RequestOutcome

NDJSON: Final = "application/x-ndjson"
SERIES_MAX: Final = 20_000
"""counted series of the run; events of others are counted together"""
KEPT_S: Final = 2.0
"""Less than servers keep an idle connection (5 s): one that both ends close at once breaks a request."""
_OK: Final = 200
_ACCEPTED: Final = 202
_SOME: Final = 207
_IN_DOUBT: Final = 500
"""and above: a proxy's answer, or one after the events were on their way"""


_DEGRADED: Final = b'"degraded":true'
"""In an answer of the console whose sources are away: an old one, or one in part. A text of its data
or of a page has these quotes escaped."""


class _Receipt(msgspec.Struct):
    accepted: int


class EventCounts:
    """Of one topic: events that the edge ``accepted``, also by series. ``in_doubt``: of requests
    without an answer, which may be stored or not."""

    def __init__(self) -> None:
        self.accepted = 0
        self.in_doubt = 0
        self.by_series: Counter[tuple[str, str, str]] = Counter()
        self.doubted_series: set[tuple[str, str, str]] = set()
        """Their number of events is not known."""

    def accept(self, events: Sequence[MadeEvent]) -> None:
        self.accepted += len(events)
        for event in events:
            if event.series is not None and (
                event.series in self.by_series or len(self.by_series) < SERIES_MAX
            ):
                self.by_series[event.series] += 1

    def doubt(self, events: Sequence[MadeEvent], accepted: int = 0) -> None:
        """``accepted`` of the events are stored, it is not known which."""
        self.accepted += accepted
        self.in_doubt += 0 if accepted else len(events)
        if len(self.doubted_series) < SERIES_MAX:
            self.doubted_series.update(event.series for event in events if event.series is not None)


class HttpTarget:
    """Use it in ``async with``. ``token`` is valid at the edge and at the console."""

    def __init__(
        self, edge_url: str, console_url: str, token: str, timeout_s: float, open_max: int
    ) -> None:
        for url in (edge_url, console_url):
            _require_safe(url)
        self._edge, self._console = edge_url.rstrip("/"), console_url.rstrip("/")
        self._http = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {token}"},
            timeout=aiohttp.ClientTimeout(total=timeout_s),
            connector=aiohttp.TCPConnector(limit=open_max, keepalive_timeout=KEPT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        self.counts: dict[str, EventCounts] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self._http.close()

    async def require_there(self, *, edge: bool) -> None:
        """Raises `DependencyUnreachable` where the console, or with ``edge`` the edge, does not answer."""
        for name, url in (("console", self._console), *((("edge", self._edge),) if edge else ())):
            try:
                async with self._http.get(f"{url}/healthz") as answer:
                    await answer.read()
            except (aiohttp.ClientError, TimeoutError) as error:
                raise DependencyUnreachable(
                    f"the {name} at {url} does not answer: {error!r}. Start `dia {name}"
                    f"{' serve' if name == 'edge' else ''}`, or name another with --{name}."
                ) from error

    async def post(self, topic: str, events: Sequence[MadeEvent]) -> RequestOutcome:
        counts = self.counts.setdefault(topic, EventCounts())
        body = b"\n".join(event.value for event in events)
        try:
            async with self._http.post(
                f"{self._edge}/v1/events/{topic}", data=body, headers={"Content-Type": NDJSON}
            ) as answer:
                content, status = await answer.read(), answer.status
        except aiohttp.ClientConnectorError:
            return RequestOutcome("no_connection")
        except (aiohttp.ClientError, TimeoutError) as error:
            counts.doubt(events)
            return _given_up(error)
        except asyncio.CancelledError:
            counts.doubt(events)
            raise
        if status == _ACCEPTED:
            counts.accept(events)
            return RequestOutcome(events=len(events))
        if status == _SOME:
            accepted = msgspec.json.decode(content, type=_Receipt).accepted
            counts.doubt(events, accepted)
            return RequestOutcome("rejected_events", events=accepted)
        if status >= _IN_DOUBT:
            counts.doubt(events)
        return RequestOutcome(str(status))

    async def ask(self, path: str, query: Mapping[str, str]) -> RequestOutcome:
        try:
            async with self._http.get(
                f"{self._console}{path}", params=query, allow_redirects=False
            ) as answer:
                content = await answer.read()
                if answer.status == _OK and _DEGRADED in content:
                    return RequestOutcome("degraded")
                return RequestOutcome("" if answer.status == _OK else str(answer.status))
        except aiohttp.ClientConnectorError:
            return RequestOutcome("no_connection")
        except (aiohttp.ClientError, TimeoutError) as error:
            return _given_up(error)

    async def read(self, path: str, query: Mapping[str, str]) -> dict[str, Any] | None:
        """The console's answer; None where it gives none, or an old one."""
        try:
            async with self._http.get(f"{self._console}{path}", params=query) as answer:
                if answer.status != _OK:
                    return None
                found: dict[str, Any] = msgspec.json.decode(await answer.read())
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return None
        return None if found.get("degraded") else found

    async def count(self, series: tuple[str, str, str], since_s: int) -> int | None:
        """Events in the rows of (tenant, model, metric) from ``since_s``, epoch seconds; None: unknown."""
        names = dict(zip(("tenant", "model", "metric"), series, strict=True))
        answer = await self.read("/api/series", {**names, "from": str(since_s), "to": "now"})
        return None if answer is None else sum(answer["columns"]["count"])


def _given_up(error: Exception) -> RequestOutcome:
    return RequestOutcome(
        "timeout" if isinstance(error, TimeoutError) else "broken_off", given_up=True
    )


def _require_safe(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f'"{url}" is no address: use http://HOST:PORT or https://HOST.')
    if parts.scheme == "http" and not is_loopback(parts.hostname):
        raise UsageError(
            f"{url} would send the token in clear text: use https, or a loopback address."
        )
