"""`PartitionTracer` on OpenTelemetry: a span per commit that settles sampled records."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from opentelemetry.trace import Span, SpanKind

from streams.core.tracing.followed import Fold, Followed, FollowedRecords
from streams.core.tracing.spans import Spans, Stopwatch, context_of, failed
from streams.core.tracing.tracer import UNTRACED_COMMIT, CommitSpan, Origins
from streams.core.types import RecordBatch, TopicPartition


class PartitionTrail:
    def __init__(self, tp: TopicPartition, group: str, spans: Spans) -> None:
        self._tp = tp
        self._group = group
        self._spans = spans
        self._followed = FollowedRecords()

    @contextmanager
    def folding(self, batch: RecordBatch) -> Iterator[None]:
        watch = self._spans.stopwatch()
        yield
        self._followed.folded(batch, Fold(watch.began_ns, watch.now_ns(), len(batch)))

    @contextmanager
    def committing(self, settles: Callable[[int], bool]) -> Iterator[CommitSpan]:
        records = self._followed.settled(settles)
        if not records:
            yield UNTRACED_COMMIT
            return
        watch = self._spans.stopwatch()
        span = self._begin(records, watch)
        trail = _CommitTrail(span, watch, self._spans)
        trail.folds(records)
        self._followed.await_rows(context_of(span), records)
        try:
            yield trail
        except BaseException as error:
            failed(span, error)
            raise
        finally:
            span.end(watch.now_ns())

    def origins(self, since_ms: NDArray[np.int64], versions: NDArray[np.uint64]) -> Origins:
        return self._followed.origins(since_ms, versions)

    def shown(self, oldest_unshown_ms: Callable[[], int]) -> None:
        self._followed.shown(oldest_unshown_ms)

    def forget(self) -> None:
        self._followed.forget()

    def _begin(self, records: list[Followed], watch: Stopwatch) -> Span:
        """From the first fold, so that an event's wait is included."""
        began_ns = min(watch.began_ns, *(one.fold.began_ns for one in records))
        return self._spans.begin(
            f"process {self._tp.topic}",
            SpanKind.CONSUMER,
            began_ns=began_ns,
            links=[one.context for one in records],
            attributes={
                "messaging.system": "kafka",
                "messaging.destination.name": self._tp.topic,
                "messaging.destination.partition.id": str(self._tp.partition),
                "messaging.consumer.group.name": self._group,
                "messaging.kafka.offset": min(one.first_offset for one in records),
            },
        )


class _CommitTrail:
    """The `CommitSpan` of a traced commit, and the spans of its steps."""

    def __init__(self, span: Span, watch: Stopwatch, spans: Spans) -> None:
        self._spans = spans
        self._watch = watch
        self._since_ns = watch.began_ns
        self._context = context_of(span)

    @property
    def origins(self) -> Origins:
        return (self._context,)

    def done(self, step: str) -> None:
        now_ns = self._watch.now_ns()
        self._step(step, self._since_ns, now_ns)
        self._since_ns = now_ns

    def folds(self, records: list[Followed]) -> None:
        for fold in {id(one.fold): one.fold for one in records}.values():
            self._step("C1", fold.began_ns, fold.ended_ns, fold.records)

    def _step(self, step: str, began_ns: int, ended_ns: int, records: int | None = None) -> None:
        attributes = {} if records is None else {"messaging.batch.message_count": records}
        span = self._spans.begin(
            _STEPS[step],
            SpanKind.INTERNAL,
            began_ns=began_ns,
            parent=self._context,
            attributes=attributes,
        )
        span.end(ended_ns)


_STEPS = {"C1": "C1 fold", "C2": "C2 send", "C3": "C3 commit", "C4": "C4 store"}
"""as in docs/protocols/commit.md"""
