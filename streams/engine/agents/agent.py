"""Batch agents: a function of all decoded records of one fetch of one partition.

    @app.batch_agent(orders, tables=(SEEN_EVENTS,))
    def count(batch: EventBatch[Order], scope: Scope) -> None: ...

The function folds the records, in log order, into the partition's tables. The next commit makes its
table changes and outputs true together. It must not await or read the clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar, Unpack, cast

import numpy as np
from numpy.typing import NDArray

from streams.core.records.event_fields import EventFields, ObjectFields, taken
from streams.core.records.framed_batch import offset_array, timestamp_array
from streams.core.rows.targets import RowTarget, RowValues
from streams.core.topics.current_stream import Key, SendOptions, Target
from streams.core.topics.topic import Topic
from streams.core.types import RecordBatch, TopicPartition
from streams.engine.decode.scanned_events import ScannedEvents, ScannedFields
from streams.engine.state.log_time import LogTimes
from streams.engine.state.table import Table, TableSpec
from streams.engine.windows.fingerprint import Fingerprints

E = TypeVar("E")
T = TypeVar("T", bound=Table)


@dataclass(frozen=True, slots=True)
class EventBatch(Generic[E]):
    """The good records of one batch: parallel columns, in log order.

    ``rows[i]`` is the index of ``events[i]`` in ``records``; None: all are good. ``append_ms`` is
    the first append of a replayed record, `appended_ms` the append to this log, and `log` its log
    time. ``log_times`` has one row for each of ``records``. With ``scanned``, each of ``events`` is
    made on access.
    """

    records: RecordBatch
    events: Sequence[E]
    rows: Sequence[int] | None
    event_ms: NDArray[np.int64]
    append_ms: NDArray[np.int64]
    log_times: LogTimes
    scanned: ScannedFields | None = None

    def __len__(self) -> int:
        return len(self.events)

    def keep(self, kept: NDArray[np.bool_]) -> EventBatch[E]:
        at = np.flatnonzero(kept)
        events = self.events
        return replace(
            self,
            events=events.take(at) if isinstance(events, ScannedEvents) else taken(events, at),
            rows=cast(Sequence[int], at if self.rows is None else np.array(self.rows, np.intp)[at]),
            event_ms=self.event_ms[kept],
            append_ms=self.append_ms[kept],
            scanned=None if self.scanned is None else self.scanned.take(at),
        )

    @property
    def fields(self) -> EventFields:
        """Fields of the events as columns."""
        return ObjectFields(self.events) if self.scanned is None else self.scanned

    def row(self, index: int) -> int:
        """Index in ``records`` of the event at ``index``."""
        return index if self.rows is None else int(self.rows[index])

    def column(self, name: str) -> list[Any]:
        """One column of ``records`` (offsets, values, ...), good records only."""
        whole = getattr(self.records, name)
        return [*whole] if self.rows is None else [whole[i] for i in self.rows]

    def values(self) -> Sequence[bytes | None]:
        """The value of each event's record, made on access."""
        return _Values(self)

    def appended_ms(self) -> NDArray[np.int64]:
        return self._chosen(timestamp_array(self.records))

    def log(self) -> LogTimes:
        """Log time of each event (streams/engine/state/log_time.py)."""
        if self.rows is None:
            return self.log_times
        return LogTimes(*(column[self.rows] for column in self.log_times))

    def offsets(self) -> NDArray[np.int64]:
        return self._chosen(offset_array(self.records))

    def _chosen(self, column: NDArray[np.int64]) -> NDArray[np.int64]:
        return column if self.rows is None else column[self.rows]


class _Values(Sequence[Any]):
    def __init__(self, batch: EventBatch[Any]) -> None:
        self._batch = batch

    def __len__(self) -> int:
        return len(self._batch)

    def __getitem__(self, index: Any) -> Any:
        return self._batch.records.values[self._batch.row(index)]


@dataclass(frozen=True, slots=True)
class Change:
    """``name`` of a versioned cache is now ``body`` (in that cache's encoding); ``events`` are
    published to subscribers. Of several unacknowledged changes of a name, the last stays owed."""

    cache: str
    name: str
    body: bytes
    events: tuple[bytes, ...]


class Scope(Protocol):
    """What an agent may do with the partition of its batch."""

    @property
    def tp(self) -> TopicPartition: ...

    @property
    def fingerprints(self) -> Fingerprints:
        """Keyed hashes of ids, names and payloads, under the partition's secret."""
        ...

    def table(self, spec: TableSpec[T]) -> T:
        """KeyError for a table that the agent does not declare."""
        ...

    def dead_letter(self, row: int, code: str, message: str, tenant: str = "") -> None:
        """Refuse the record at index ``row`` of the batch's ``records``."""
        ...

    def send(
        self,
        topic: Target,
        key: Key = None,
        value: Any = None,
        **options: Unpack[SendOptions],
    ) -> None:
        """Send ``value`` to ``topic`` in the partition's next transaction; ``key`` None: the value's
        ``key_field``.

        Raises `ValueRefused` for a record that Kafka would refuse: too large for the topic, or of a
        partition or timestamp that it lacks. Nothing is sent then: the agent should refuse its own
        record by `dead_letter`.
        """
        ...

    def fact(self, target: str | RowTarget, row: RowValues, *, name: str | None = None) -> None:
        """Owe a declared ClickHouse table or sink a row, from the partition's next commit on. The
        commit sets ``ver`` and ``at``. Of a table's rows with one key, and of a sink's with one
        ``name``, only the last is owed, as all would have one version.

        Raises `UnknownTable` for an undeclared target and `RowUnfit` for a row that it cannot hold.
        Nothing is owed then: the agent should refuse the record by `dead_letter`.
        """
        ...

    def change(self, change: Change) -> None:
        """Owe the caches a new value, from the partition's next commit on, with the commit's
        version."""
        ...

    def count(self, *, applied: int = 0, duplicates: int = 0) -> None:
        """Count good records; `dead_letter` counts the others. Where they count another number than
        the events of the batch, the partition stops with `agent_failed`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSpec:
    """A declared batch agent. ``tables`` without the outbox, which the runtime adds."""

    name: str
    source: Topic
    group: str
    tables: tuple[TableSpec[Any], ...]
    process: Callable[[EventBatch[Any], Scope], None]
    columns: bool = False
    """``process`` reads `EventBatch.fields`: with kernels, events are made on access only"""
    ids: str = ""
    """the field whose repeats ``process`` drops by `SEEN_EVENTS`: a trace looks for the first"""
