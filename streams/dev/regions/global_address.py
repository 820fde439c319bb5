"""Posts events to the active region, as a client behind a global load balancer does."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import httpx

from streams.core.clock import Clock
from streams.core.errors import CommandError, UsageError
from streams.core.process.proxies import DIRECT
from streams.core.types import Headers
from streams.dev.regions.local_region import LocalRegion
from streams.http.edge.exchange import NDJSON

PATIENCE_S = 900.0
"""before a client gives up: the aim of a failover"""
RETRY_S = 0.3
POST_TIMEOUT_S = 60.0
_LATER = frozenset({429, 503})


class GlobalAddress:
    """A `BlockProducer`. A region whose edge says that it is active gets the post; one that was not
    answered is posted again."""

    def __init__(
        self,
        regions: Sequence[LocalRegion],
        clock: Clock,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._regions = regions
        self._clock = clock
        self._http = httpx.AsyncClient(timeout=POST_TIMEOUT_S, transport=transport, mounts=DIRECT)
        self.accepted: dict[str, int] = {one.name: 0 for one in regions}
        """events by region"""
        self.first_s: dict[str, float] = {}
        """monotonic time of the first accepted post of a region"""

    async def close(self) -> None:
        await self._http.aclose()

    async def send_many(
        self, topic: str, keys: Sequence[bytes], values: Sequence[bytes], headers: Headers = ()
    ) -> asyncio.Future[None]:
        """The future raises `CommandError` after `PATIENCE_S`, and for an answer that no retry mends."""
        if headers:
            raise UsageError("an edge takes no headers of Kafka records.")
        return asyncio.ensure_future(self._post(topic, b"\n".join(values), len(values)))

    async def _post(self, topic: str, body: bytes, count: int) -> None:
        deadline_s = self._clock.monotonic() + PATIENCE_S
        while True:
            region = await self._active()
            if region is not None and await self._taken(region, topic, body):
                self.accepted[region.name] += count
                self.first_s.setdefault(region.name, self._clock.monotonic())
                return
            if self._clock.monotonic() >= deadline_s:
                raise CommandError(f"no region took the events of a client for {PATIENCE_S:g} s.")
            await self._clock.sleep(RETRY_S)

    async def _active(self) -> LocalRegion | None:
        for region in self._regions:
            try:
                answer = await self._http.get(f"{region.edge_url}/health/region")
            except httpx.TransportError:
                continue
            if answer.status_code == httpx.codes.OK:
                return region
        return None

    async def _taken(self, region: LocalRegion, topic: str, body: bytes) -> bool:
        headers = {"Content-Type": NDJSON, "Authorization": f"Bearer {region.token}"}
        url = f"{region.edge_url}/v1/events/{topic}"
        try:
            answer = await self._http.post(url, content=body, headers=headers)
        except httpx.TransportError:
            return False
        if answer.status_code == httpx.codes.ACCEPTED:
            return True
        if answer.status_code in _LATER:
            return False
        raise CommandError(
            f"the edge of {region.name} answered {answer.status_code}: {answer.text[:200]}"
        )
