"""Which worker holds a partition, as Kafka's group coordinator tells."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final, NamedTuple

import structlog

from streams.connect.broker.opened import opened
from streams.core.clock import Clock
from streams.core.errors import DiaError
from streams.core.types import Broker, TopicPartition
from streams.engine.pages.page_tables import KeyPlace
from streams.engine.runtime.identity import WorkerPlace, place_of_member

FRESH_S: Final = 5.0
"""how long an answer is taken as true"""
TIMEOUT_S: Final = 2.0

log = structlog.get_logger(__name__)


class _Known(NamedTuple):
    at_s: float
    owners: Mapping[TopicPartition, str]


class GroupMembers:
    """Asks at most once in `FRESH_S` for each group."""

    def __init__(self, broker: Broker, clock: Clock) -> None:
        self._broker = broker
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._asking = asyncio.Lock()

    async def of(self, place: KeyPlace) -> WorkerPlace | None:
        """None during a rebalance, and if the holder is no worker of dia or Kafka does not answer."""
        async with self._asking:
            known = self._known.get(place.group)
            if known is None or self._clock.monotonic() >= known.at_s + FRESH_S:
                owners = await self._ask(place.group)
                known = self._known[place.group] = _Known(self._clock.monotonic(), owners)
        return place_of_member(known.owners.get(TopicPartition(place.topic, place.partition), ""))

    async def _ask(self, group: str) -> Mapping[TopicPartition, str]:
        try:
            async with asyncio.timeout(TIMEOUT_S), opened(self._broker.admin()) as admin:
                described = await admin.describe_group(group)
        except (DiaError, TimeoutError) as error:
            log.warning("group_members_unknown", group=group, why=str(error))
            return {}
        return {tp: member.instance_id for tp, member in described.owners().items()}
