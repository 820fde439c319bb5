"""One question for offsets of many partitions, and what its answers say.

A leader answers a ListOffsets request with one entry a partition: an offset, or a code of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import aiokafka.errors as client
from aiokafka.protocol.offset import OffsetRequest

from streams.connect.broker.kafka.codes import IncompleteAnswerError, passes, raise_for
from streams.core.types import TopicPartition

PARTITIONS_MAX = 500
"""In one request."""


class ListOffsets:
    """``strategy`` is -1 for the end and -2 for the start of a log; ``isolation`` says whether the
    end is the last stable offset or the high watermark."""

    def __init__(self, partitions: Iterable[TopicPartition], strategy: int, isolation: int) -> None:
        self.told: dict[TopicPartition, int] = {}
        self._left = dict.fromkeys(partitions)
        self._strategy = strategy
        self._isolation = isolation

    @property
    def left(self) -> list[TopicPartition]:
        """Partitions that no leader told the offset of."""
        return list(self._left)

    def requests(self, leaders: Mapping[TopicPartition, int]) -> list[tuple[int, Any]]:
        """A node and what to ask it, for each leader of the partitions in ``leaders``."""
        by_node: dict[int, dict[str, list[tuple[int, int]]]] = {}
        for tp, node in leaders.items():
            topics = by_node.setdefault(node, {})
            topics.setdefault(tp.topic, []).append((tp.partition, self._strategy))
        return [
            (node, OffsetRequest(-1, self._isolation, list(topics.items())))
            for node, topics in by_node.items()
        ]

    def take(self, answer: Any) -> None:
        """Note every offset of the answer, then raise the client's error for a code in it: one that
        does not pass by itself, if there is one."""
        refused: dict[TopicPartition, int] = {}
        for topic, names, partitions in _topics(answer):
            for values in partitions:
                fields = dict(zip(names, values, strict=True))
                tp = TopicPartition(topic, fields["partition"])
                if tp not in self._left:
                    continue
                if fields["error_code"]:
                    refused[tp] = fields["error_code"]
                elif fields["offset"] >= 0:
                    self.told[tp] = fields["offset"]
                    del self._left[tp]
        for tp, code in sorted(refused.items(), key=lambda one: passes(client.for_code(one[1])())):
            raise_for(code, str(tp))

    def check(self, asked: Iterable[TopicPartition]) -> None:
        """Raises `IncompleteAnswerError` where the offset of a partition was not told."""
        for tp in asked:
            if tp in self._left:
                raise IncompleteAnswerError(f"no offset of {tp}")


def _topics(answer: Any) -> Iterable[tuple[str, list[str], Any]]:
    """Each topic with the names of its partitions' fields, which stay while places move."""
    schema = answer.SCHEMA
    topics = schema.fields[schema.names.index("topics")].array_of
    names = topics.fields[topics.names.index("partitions")].array_of.names
    for topic, partitions in answer.topics or ():
        yield topic, names, partitions
