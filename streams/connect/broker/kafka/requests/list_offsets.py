"""ListOffsets requests for many partitions. Each leader answers with an offset or an error code per
partition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import aiokafka.errors as client
from aiokafka.protocol.offset import OffsetRequest

from streams.connect.broker.kafka.requests.codes import IncompleteAnswerError, passes, raise_for
from streams.core.types import TopicPartition

PARTITIONS_MAX = 500
"""per request"""
NO_RECORD = -1
"""The answer about a timestamp behind the last record. About an end it means "unknown"."""


class ListOffsets:
    """``strategy``: -1 for the end of a log, -2 for its start, else a timestamp in milliseconds:
    the first offset at or after it, `NO_RECORD` without one. ``isolation``: whether the end is the
    last stable offset or the high watermark."""

    def __init__(self, partitions: Iterable[TopicPartition], strategy: int, isolation: int) -> None:
        self.told: dict[TopicPartition, int] = {}
        self._left = dict.fromkeys(partitions)
        self._strategy = strategy
        self._isolation = isolation

    @property
    def left(self) -> list[TopicPartition]:
        return list(self._left)

    def requests(self, leaders: Mapping[TopicPartition, int]) -> list[tuple[int, Any]]:
        """Node and request for each leader."""
        by_node: dict[int, dict[str, list[tuple[int, int]]]] = {}
        for tp, node in leaders.items():
            topics = by_node.setdefault(node, {})
            topics.setdefault(tp.topic, []).append((tp.partition, self._strategy))
        return [
            (node, OffsetRequest(-1, self._isolation, list(topics.items())))
            for node, topics in by_node.items()
        ]

    def take(self, answer: Any) -> None:
        """Store the offsets, then raise the client's error for a code, a final one first."""
        refused: dict[TopicPartition, int] = {}
        for topic, names, partitions in _topics(answer):
            for values in partitions:
                fields = dict(zip(names, values, strict=True))
                tp = TopicPartition(topic, fields["partition"])
                if tp not in self._left:
                    continue
                if fields["error_code"]:
                    refused[tp] = fields["error_code"]
                elif fields["offset"] >= (0 if self._strategy < 0 else NO_RECORD):
                    self.told[tp] = fields["offset"]
                    del self._left[tp]
        for tp, code in sorted(refused.items(), key=lambda one: passes(client.for_code(one[1])())):
            raise_for(code, str(tp))

    def check(self, asked: Iterable[TopicPartition]) -> None:
        """Raise `IncompleteAnswerError` for a missing offset."""
        for tp in asked:
            if tp in self._left:
                raise IncompleteAnswerError(f"no offset of {tp}")


def _topics(answer: Any) -> Iterable[tuple[str, list[str], Any]]:
    """Topic, field names of its partitions, and partitions. Field positions vary by version."""
    schema = answer.SCHEMA
    topics = schema.fields[schema.names.index("topics")].array_of
    names = topics.fields[topics.names.index("partitions")].array_of.names
    for topic, partitions in answer.topics or ():
        yield topic, names, partitions
