"""Finds records in another partition than their key belongs to.

Deduplication is per partition, so all producers must use murmur2, as Kafka's Java clients do
(streams/connect/broker/partitioner.py). librdkafka's default is another hash: an event sent through
both kinds of client counts twice.

In a topic that grew, older records of a key lie elsewhere. So a key is well placed by the present
partition count, by any other count this process has seen, or by the declared one.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import Final

import numpy as np
import structlog

from streams.connect.broker.partitioner import partition_of
from streams.core import kernels
from streams.core.records.bad_records import KeyMisplaced, KeyRefused
from streams.core.records.framed_batch import places_of
from streams.core.types import RecordBatch, TopicPartition
from streams.engine.decode.codecs import BadPosition, Decoded
from streams.engine.windows.name_spans import NameSpans

_PLACED_MAX: Final = 100_000
_KEY_SHOWN: Final = 80
_PLACED_BYTES_MAX: Final = 16 << 20
"""a key may have 1 MB: limits the memory for placed keys"""

log = structlog.get_logger(__name__)


class KeyPlacement:
    """``misplaced`` counts the records since the partition was opened."""

    def __init__(self, tp: TopicPartition, declared: int) -> None:
        self._tp = tp
        self._counts = {declared}
        self._placed = NameSpans()
        self._said = False
        self.misplaced = 0

    def grown_to(self, partitions: int) -> None:
        """Add the topic's present partition count; 0: unknown."""
        if partitions:
            self._counts.add(partitions)

    def belongs(self, key: bytes) -> bool:
        return not self._elsewhere((key,))

    def look(self, batch: RecordBatch) -> AbstractSet[bytes]:
        """The misplaced keys of a batch; counts their records."""
        if self._all_belong(batch):
            return frozenset()
        wrong = self._elsewhere(set(batch.keys))
        if wrong:
            records = sum(key in wrong for key in batch.keys)
            self.misplaced += records
            self._say(batch, wrong, records)
        return wrong

    def _all_belong(self, batch: RecordBatch) -> bool:
        """Whether all keys are known to belong here; False: unknown."""
        if kernels.active is None:
            return False
        keys, _ = places_of(batch)
        if keys.absent is not None:
            return False
        codes, unknown = self._placed.codes(keys)
        if unknown:
            found = keys.take(np.flatnonzero(codes < 0)).encoded()
            new = {key for key in found if key is not None}
            size = self._placed.bytes_used + sum(map(len, new))
            if len(self._placed) + len(new) > _PLACED_MAX or size > _PLACED_BYTES_MAX:
                self._placed = NameSpans()
                return False
            if self._elsewhere(new):
                return False
            self._placed.add([*new])
        return True

    def _elsewhere(self, keys: Iterable[bytes | None]) -> set[bytes]:
        number, counts = self._tp.partition, self._counts
        return {
            key
            for key in keys
            if key is not None and all(partition_of(key, count) != number for count in counts)
        }

    def _say(self, batch: RecordBatch, wrong: AbstractSet[bytes], records: int) -> None:
        if self._said:
            return
        self._said = True
        log.warning(
            "keys_misplaced",
            tp=str(self._tp),
            keys=len(wrong),
            records=records,
            offset=batch.start,
            why="a producer uses another partitioner than murmur2 (librdkafka: set "
            "partitioner=murmur2_random), or the topic grew; repeats in different partitions "
            "count twice. `dia audit --deep` counts them.",
        )


def without_misplaced(
    decoded: Decoded, batch: RecordBatch, wrong: AbstractSet[bytes], partition: int
) -> Decoded:
    positions = decoded.positions if decoded.positions is not None else range(len(batch))
    what = (
        f"by murmur2 the key belongs to another partition than {partition}, so repeats cannot be "
        "found: set partitioner=murmur2_random in the producer"
    )
    bad = [
        BadPosition(int(at), KeyMisplaced.code, what, "key")
        for at in positions
        if batch.keys[at] in wrong
    ]
    return decoded.without(bad, len(batch))


def key_elsewhere(agent: str, table: str, key: object, tp: TopicPartition) -> KeyRefused:
    """The refusal of a table's key that belongs to another partition."""
    return KeyRefused(
        f"agent {agent} writes key {repr(key)[:_KEY_SHOWN]} of table {table!r} in {tp}, but that key belongs to "
        "another partition, so its count would be split. Send the event to a topic under this key and count "
        "there (topic.send, or stream.group_by), or declare the table with keys='any' if each partition has "
        "its own keys."
    )
