"""Decodes batches before their partitions fold them, also in another thread: what needs no table of the
partition."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock

from streams.core.records.framed_batch import FramedBatch
from streams.core.topics.topic import Topic
from streams.core.types import RecordBatch, TopicPartition
from streams.engine.decode.codecs import Decoded, Limits, decode
from streams.engine.decode.key_codes import KeyCodes
from streams.engine.decode.scanning import Scanner


class DecodingAhead:
    """A `Prepare`: sets ``decoded`` and ``coded`` of a `FramedBatch` where kernels scan it."""

    def __init__(self, topics: Mapping[str, Topic], limits: Limits) -> None:
        """``topics``: those whose agents read columns, by name."""
        self._topics = topics
        self._limits = limits
        self._scanners: dict[str, Scanner | None] = {}
        self._keys: dict[TopicPartition, KeyCodes] = {}
        self._coding = Lock()
        """The loop opens small answers itself, while the thread may still open one that a seek dropped."""

    def __call__(self, batch: RecordBatch) -> None:
        topic = self._topics.get(batch.tp.topic)
        if topic is None or not isinstance(batch, FramedBatch) or not batch.framed:
            return
        if topic.name not in self._scanners:
            self._scanners[topic.name] = Scanner.of(topic)
        scanner = self._scanners[topic.name]
        if scanner is None:
            return
        try:
            with self._coding:
                self._keys.setdefault(batch.tp, KeyCodes()).of(batch)
            batch.decoded = scanner.decode(batch, self._limits)
        except Exception:  # noqa: BLE001 - `Partition.fold` decodes it again, and its partition fails
            batch.coded = batch.decoded = None


def decoded_once(
    batch: RecordBatch, scanner: Scanner | None, topic: Topic, limits: Limits
) -> Decoded:
    """The records of ``batch``: decoded ahead, or now. ``scanner`` None: without kernels."""
    if isinstance(batch, FramedBatch) and batch.decoded is not None:
        decoded: Decoded = batch.decoded
        return decoded
    return decode(topic, batch, limits) if scanner is None else scanner.decode(batch, limits)
