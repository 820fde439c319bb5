"""Engines that misread an unavailable schema registry, shown by apps that use one (any_app.py)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from streams.connect.schema_registry.registry import SchemaRegistry
from streams.core.errors import Pending, SchemaPending, SchemaRegistryUnavailable
from streams.core.topics.current_stream import Target
from streams.core.types import RecordBatch
from streams.dev.simulation.variant import Variant, replaced
from streams.engine.runtime.partition.schema_wait import SchemaWait
from streams.engine.runtime.partition.stream_partition import StreamPartition
from streams.engine.streams.stream import Stream

_obtain = SchemaRegistry._obtain
_fold = StreamPartition.fold
_send = Stream.send


async def _unknown_while_away(self: SchemaRegistry, ids: Sequence[int]) -> None:
    """An id that could not be queried counts as unknown."""
    try:
        await _obtain(self, ids)
    except SchemaRegistryUnavailable:
        self._unknown.update({one: self._clock.monotonic() for one in ids if not self._has(one)})


def _passed_before_it_is_read(self: StreamPartition, batch: RecordBatch) -> None:
    """A batch counts as read without its schemas."""
    try:
        _fold(self, batch)
    except SchemaPending:
        self._position = batch.end
        raise


def _complete_without_its_send(self: Stream, topic: Target, *args: Any, **options: Any) -> None:
    """An agent that catches every exception completes the event."""
    try:
        _send(self, topic, *args, **options)
    except Pending:
        self.failed = None
        raise


def _never_over(self: SchemaWait) -> bool:
    """The answer is ignored: the partition waits for ever."""
    del self
    return False


VARIANTS: Mapping[str, Variant] = {
    "unknown_while_away": replaced(SchemaRegistry, _obtain=_unknown_while_away),
    "passed_before_it_is_read": replaced(StreamPartition, fold=_passed_before_it_is_read),
    "complete_without_its_send": replaced(Stream, send=_complete_without_its_send),
    "never_over": replaced(SchemaWait, over=_never_over),
}
"""By name, the defect."""
