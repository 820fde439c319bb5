"""How many partitions the topics have that an agent sends to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from streams.core.topics.current_stream import Target


class TopicSizes:
    """Keys are spread over the newest known number, as producers do: else an agent would send a key to
    another partition than they, until its own partition opens again.

    ``opening``: by name, as Kafka said when the partition was opened. ``known``: the number of a topic in the
    producer's metadata, 0 if unknown."""

    def __init__(
        self,
        opening: Mapping[str, int] = MappingProxyType({}),
        known: Callable[[str], int] = lambda _: 0,
    ) -> None:
        self._opening = opening
        self._known = known
        self._used: dict[str, int] = {}

    def of(self, topic: Target) -> int:
        count = self._used.get(topic.name)
        if count is None:
            count = self._used[topic.name] = self._opening.get(topic.name) or topic.partitions
        return count

    def learn(self) -> None:
        """A smaller number is of a broker that lags behind."""
        for name, count in self._used.items():
            self._used[name] = max(count, self._known(name))
