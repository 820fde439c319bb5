"""Every region as seen from here: its word, its mirror, its edges."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from streams.connect.access.listening import is_loopback
from streams.core.clock import Clock
from streams.core.errors import BrokerUnavailable, UnknownTopic
from streams.core.process.proxies import DIRECT
from streams.core.resilience.deadline import Deadline, DeadlinePassed
from streams.core.topics.topology import Topology
from streams.core.types import Broker
from streams.operate.regions.declared import Region
from streams.operate.regions.failover import RegionSwitch
from streams.operate.regions.mirrored import Unmirrored, missing_of, oldest_s, records_of
from streams.operate.regions.word import RegionWord, newest_of

EDGE_TIMEOUT_S = 3.0
MIRROR_TIMEOUT_S = 30.0
HEALTH = "/health/region"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionStatus:
    """``word`` None: unknown, or there is none. ``missing`` None: unknown; records of the active
    region that are not mirrored into this one. ``edges``: whether each serves, None where it does not answer."""

    name: str
    reachable: bool
    word: RegionWord | None
    missing: tuple[Unmirrored, ...] | None
    missing_s: float | None
    edges: Mapping[str, bool | None]

    @property
    def missing_records(self) -> int | None:
        return None if self.missing is None else records_of(self.missing)


async def statuses(
    regions: Mapping[str, Region],
    brokers: Mapping[str, Broker],
    topology: Topology,
    clock: Clock,
    lease_s: float,
) -> list[RegionStatus]:
    """One for each region; what cannot be read is None."""
    words, away = await RegionSwitch(brokers, topology, clock, lease_s).words()
    newest = newest_of(words.values())
    found = []
    for name, region in regions.items():
        missing = None
        if newest is not None and name not in away and newest.active not in away:
            missing = await _missing(brokers, topology, clock, newest.active, name)
        found.append(
            RegionStatus(
                name=name,
                reachable=name not in away,
                word=words.get(name),
                missing=missing,
                missing_s=None if missing is None else oldest_s(missing, clock.now_ms()),
                edges=await _edges(region.edges),
            )
        )
    return found


async def _missing(
    brokers: Mapping[str, Broker], topology: Topology, clock: Clock, active: str, name: str
) -> tuple[Unmirrored, ...] | None:
    if name == active:
        return ()
    try:
        asking = missing_of(brokers[active], brokers[name], topology, active)
        return await Deadline(clock, MIRROR_TIMEOUT_S).wait(asking)
    except (BrokerUnavailable, UnknownTopic, DeadlinePassed):
        return None


async def _edges(urls: Sequence[str]) -> dict[str, bool | None]:
    return dict(zip(urls, await asyncio.gather(*map(_serves, urls)), strict=True))


async def _serves(url: str) -> bool | None:
    mounts = DIRECT if is_loopback(urlsplit(url).hostname or "") else None
    try:
        async with httpx.AsyncClient(timeout=EDGE_TIMEOUT_S, mounts=mounts) as http:
            answer = await http.get(url.rstrip("/") + HEALTH)
    except (httpx.HTTPError, httpx.InvalidURL):
        return None
    return {200: True, 503: False}.get(answer.status_code)
