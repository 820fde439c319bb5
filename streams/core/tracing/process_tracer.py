"""`Tracer` on OpenTelemetry: the spans of one process, and the sampling decision."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from opentelemetry.trace import SpanKind

from streams.core.tracing.context import TraceContext
from streams.core.tracing.followed import LINKS_MAX
from streams.core.tracing.partition_trail import PartitionTrail
from streams.core.tracing.spans import Spans, context_of
from streams.core.tracing.tracer import Origins, PartitionTracer
from streams.core.types import TopicPartition

_KAFKA: Final = {"messaging.system": "kafka"}


class ProcessTracer:
    """Follows its caller's decision; without one, samples ``ratio``."""

    def __init__(
        self, spans: Spans, ratio: float, close: Callable[[float], None], seed: int | None = None
    ) -> None:
        self._spans = spans
        self._ratio = ratio
        self._close = close
        self._random = random.Random(seed)

    @contextmanager
    def taking(self, topic: str, traceparent: bytes) -> Iterator[bytes]:
        caller = TraceContext.read(traceparent)
        if not (self._random.random() < self._ratio if caller is None else caller.sampled):
            yield b""
            return
        attributes = {**_KAFKA, "messaging.destination.name": topic}
        with self._spans.during(
            f"take {topic}", SpanKind.SERVER, parent=caller, attributes=attributes
        ) as span:
            yield context_of(span).header

    @contextmanager
    def sending(self, topic: str, traceparents: Iterable[bytes]) -> Iterator[None]:
        links = _contexts(traceparents)
        if not links:
            yield
            return
        attributes = {**_KAFKA, "messaging.destination.name": topic}
        with self._spans.during(
            f"send {topic}", SpanKind.PRODUCER, links=links, attributes=attributes
        ):
            yield

    def partition(self, tp: TopicPartition, group: str) -> PartitionTracer:
        return PartitionTrail(tp, group, self._spans)

    @contextmanager
    def inserting(
        self, shard: int, table: str, rows: int, origins: Iterable[Origins]
    ) -> Iterator[None]:
        links = list(dict.fromkeys(one for some in origins for one in some))[:LINKS_MAX]
        if not links:
            yield
            return
        attributes: dict[str, str | int] = {
            "db.system.name": "clickhouse",
            "db.collection.name": table,
            "db.operation.batch.size": rows,
            "dia.shard": shard,
        }
        with self._spans.during(
            f"insert {table}", SpanKind.CLIENT, links=links, attributes=attributes
        ):
            yield

    def close(self, timeout_s: float) -> None:
        self._close(timeout_s)


def _contexts(traceparents: Iterable[bytes]) -> list[TraceContext]:
    distinct = list(dict.fromkeys(raw for raw in traceparents if raw))[:LINKS_MAX]
    return [found for raw in distinct if (found := TraceContext.read(raw)) is not None]
