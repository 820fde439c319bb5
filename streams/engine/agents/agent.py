"""How an agent is written: a function that gets a whole batch of one partition's events.

    @app.batch_agent(orders, tables=(SEEN_EVENTS,))
    def count(batch: EventBatch[Order], scope: Scope) -> None: ...

The function is called with the decoded records of one fetch, in log order, and folds them into
the partition's tables. It has no effect outside the process: what it emits, and what it puts in
tables, becomes true with the next commit, all at once. It may not await and may not keep time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from streams.core.records.event_fields import EventFields, ObjectFields, taken
from streams.core.records.framed_batch import offset_array, timestamp_array
from streams.core.rows.targets import RowTarget, RowValues
from streams.core.topics.topic import Topic
from streams.core.types import OutboundRecord, RecordBatch, TopicPartition
from streams.engine.decode.scanned_events import ScannedEvents, ScannedFields
from streams.engine.state.log_time import LogTimes
from streams.engine.state.table import Table, TableSpec
from streams.engine.windows.fingerprint import Fingerprints

E = TypeVar("E")
T = TypeVar("T", bound=Table)


@dataclass(frozen=True, slots=True)
class EventBatch(Generic[E]):
    """The good records of one batch: parallel columns, in log order.

    ``rows[i]`` is the index of ``events[i]`` in ``records``; None says that all are good.
    ``append_ms`` is the time each record's age is judged by (a replayed one's by its first
    append); `appended_ms` is when this log took it, and `log` the log time of that.
    ``log_times`` has one for each of ``records``. Agents read columns through `fields`: ``scanned`` are
    those that were read without making events, and each of ``events`` is then made when it is asked for.
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
        """The batch with only some of its events."""
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
        """Fields of the events as columns. Of a topic that the scanner reads, no event is made."""
        return self.scanned or ObjectFields(self.events)

    def row(self, index: int) -> int:
        """Index in ``records`` of the event at ``index``."""
        return index if self.rows is None else int(self.rows[index])

    def column(self, name: str) -> list[Any]:
        """One column of ``records`` (offsets, values, ...), good records only."""
        whole = getattr(self.records, name)
        return [*whole] if self.rows is None else [whole[i] for i in self.rows]

    def values(self) -> Sequence[bytes | None]:
        """The value of each event's record, made when it is asked for."""
        return _Values(self)

    def appended_ms(self) -> NDArray[np.int64]:
        """When each event was appended to this log: the time in which a repeat must come."""
        return self._chosen(timestamp_array(self.records))

    def log(self) -> LogTimes:
        """Of each event (streams/engine/state/log_time.py): the time in which ids are forgotten."""
        if self.rows is None:
            return self.log_times
        return LogTimes(*(column[self.rows] for column in self.log_times))

    def offsets(self) -> NDArray[np.int64]:
        """Source offset of each event."""
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
    """``name`` of a versioned cache is now ``body`` (as that cache encodes it); ``events`` are
    what happened to it, each published to the subscribers. Of unacknowledged changes of one name the
    last one stays owed."""

    cache: str
    name: str
    body: bytes
    events: tuple[bytes, ...]


class Scope(Protocol):
    """What an agent may do with the partition its batch came from."""

    @property
    def tp(self) -> TopicPartition: ...

    @property
    def fingerprints(self) -> Fingerprints:
        """Keyed hashes of ids, names and payloads, under the secret of the partition's state."""
        ...

    def table(self, spec: TableSpec[T]) -> T:
        """The partition's instance of a declared table; KeyError when the agent did not
        declare it."""
        ...

    def dead_letter(self, row: int, code: str, message: str, tenant: str = "") -> None:
        """Refuse the record at index ``row`` of the batch's ``records``."""
        ...

    def emit(self, record: OutboundRecord) -> None:
        """Produce ``record`` in the partition's next transaction."""
        ...

    def fact(self, target: str | RowTarget, row: RowValues, *, name: str | None = None) -> None:
        """Owe a declared ClickHouse table or sink a row, from the partition's next commit on; its
        ``ver`` and ``at`` are the commit's. Of rows with one ``name`` only the last is owed: all would have
        one version.

        Raises `UnknownTable` for a target that the app does not declare and `RowUnfit` for a row that
        it cannot hold. Nothing is owed then: the agent refuses the record by `dead_letter`.
        """
        ...

    def change(self, change: Change) -> None:
        """Owe the caches a newer value, from the partition's next commit on, with the commit's
        version."""
        ...

    def count(self, *, applied: int = 0, duplicates: int = 0) -> None:
        """Account for good records; those refused by `dead_letter` are counted there. Every
        event of a batch must be accounted for once."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSpec:
    """A declared agent. ``tables`` may not include the outbox: the runtime adds it."""

    name: str
    source: Topic
    group: str
    tables: tuple[TableSpec[Any], ...]
    process: Callable[[EventBatch[Any], Scope], None]
    columns: bool = False
    """``process`` reads `EventBatch.fields` and few events: where kernels are loaded, none is made
    before it is asked for"""
