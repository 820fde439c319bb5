"""The console's Kafka readers and topic list. Connecting and describing costs more than most reads,
so both are reused."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from streams.connect.broker.opened import opened
from streams.connect.cache.cached_value import CachedValue
from streams.core.clock import Clock
from streams.core.types import Broker, LogReader, TopicConfig

TOPICS_FRESH_S: Final = 10.0


class Logs:
    """Keeps as many readers as were ever in use at once; the callers bound that number."""

    def __init__(self, broker: Broker, clock: Clock) -> None:
        self._broker = broker
        self._idle: list[LogReader] = []
        self._topics = CachedValue(self._described, TOPICS_FRESH_S, clock)

    async def topics(self) -> Mapping[str, TopicConfig]:
        """By name. Raises `BrokerUnavailable`."""
        return await self._topics.get()

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[LogReader]:
        """For the caller alone. It is discarded after an error or a cancellation. Raises
        `BrokerUnavailable`."""
        reader = self._idle.pop() if self._idle else await self._broker.reader()
        try:
            yield reader
        except GeneratorExit:
            # A caller may stop between pages: no request is in progress.
            self._idle.append(reader)
            raise
        except BaseException:
            await reader.close()
            raise
        self._idle.append(reader)

    async def close(self) -> None:
        await self._topics.close()
        while self._idle:
            await self._idle.pop().close()

    async def _described(self) -> Mapping[str, TopicConfig]:
        async with opened(self._broker.admin()) as admin:
            return await admin.describe_topics()
