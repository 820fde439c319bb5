"""The spans of the pipeline, for following a single event.

    take T ──(Kafka header traceparent)──► process T ──────────────► insert m1
      ▲ links                                ├ C1 fold                  links to every commit
    send T                                   ├ C2 send                  whose rows it may hold
    one transaction of the edge              ├ C3 commit
                                             └ C4 store
                                             links to the sampled records it settles

Only sampled records have the header, and only commits with such records have spans, so the cost
follows the sample. `UNTRACED`, the default, does no work per record.

No method raises or waits: a trace that cannot be kept is dropped and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Final, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from streams.core.tracing.context import TraceContext
from streams.core.types import RecordBatch, TopicPartition

Origins: TypeAlias = tuple[TraceContext, ...]
"""The commits behind a batch of rows; empty where none is traced."""


class CommitSpan(Protocol):
    @property
    def origins(self) -> Origins:
        """This commit, as origin of its effects."""
        ...

    def done(self, step: str) -> None:
        """The step began at the end of the one before."""
        ...


class PartitionTracer(Protocol):
    """One assigned partition, from its opening until it is released."""

    def folding(self, batch: RecordBatch) -> AbstractContextManager[None]:
        """C1 of a batch."""
        ...

    def committing(self, settles: Callable[[int], bool]) -> AbstractContextManager[CommitSpan]:
        """C2 to C5 of the folded records. ``settles(offset)``: this or an earlier commit settles
        that record. Call it in the turn that encodes the commit."""
        ...

    def origins(self, since_ms: NDArray[np.int64], versions: NDArray[np.uint64]) -> Origins:
        """The commits whose sampled records such rows may be first to show. ``since_ms`` is the
        append time of the oldest record that no earlier row held, ``versions`` the rows'."""
        ...

    def shown(self, oldest_unshown_ms: Callable[[], int]) -> None:
        """``oldest_unshown_ms`` returns the append time of the oldest record without a row."""
        ...

    def forget(self) -> None: ...


class Tracer(Protocol):
    def taking(self, topic: str, traceparent: bytes) -> AbstractContextManager[bytes]:
        """With the caller's header or ``b""``. Yields the header of the records, ``b""`` for
        none."""
        ...

    def sending(self, topic: str, traceparents: Iterable[bytes]) -> AbstractContextManager[None]:
        """One transaction with events that `taking` accepted under these headers."""
        ...

    def partition(self, tp: TopicPartition, group: str) -> PartitionTracer: ...

    def inserting(
        self, shard: int, table: str, rows: int, origins: Iterable[Origins]
    ) -> AbstractContextManager[None]:
        """One attempt to insert rows into a shard."""
        ...

    def close(self, timeout_s: float) -> None:
        """Export within the time, blocking; drop the rest."""
        ...


class Untraced:
    def taking(self, topic: str, traceparent: bytes) -> AbstractContextManager[bytes]:
        return _NO_HEADER

    def sending(self, topic: str, traceparents: Iterable[bytes]) -> AbstractContextManager[None]:
        return _NOTHING

    def partition(self, tp: TopicPartition, group: str) -> PartitionTracer:
        return UNTRACED_PARTITION

    def inserting(
        self, shard: int, table: str, rows: int, origins: Iterable[Origins]
    ) -> AbstractContextManager[None]:
        return _NOTHING

    def close(self, timeout_s: float) -> None:
        return


class UntracedPartition:
    """The `PartitionTracer` of `Untraced`."""

    def folding(self, batch: RecordBatch) -> AbstractContextManager[None]:
        return _NOTHING

    def committing(self, settles: Callable[[int], bool]) -> AbstractContextManager[CommitSpan]:
        return _NO_SPAN

    def origins(self, since_ms: NDArray[np.int64], versions: NDArray[np.uint64]) -> Origins:
        return ()

    def shown(self, oldest_unshown_ms: Callable[[], int]) -> None:
        return

    def forget(self) -> None:
        return


class UntracedCommit:
    """A commit without a sampled record."""

    origins: Origins = ()

    def done(self, step: str) -> None:
        return


_NOTHING: Final = nullcontext()
_NO_HEADER: Final = nullcontext(b"")
UNTRACED_COMMIT: Final = UntracedCommit()
_NO_SPAN: Final[AbstractContextManager[CommitSpan]] = nullcontext(UNTRACED_COMMIT)
UNTRACED_PARTITION: Final = UntracedPartition()
UNTRACED: Final = Untraced()
