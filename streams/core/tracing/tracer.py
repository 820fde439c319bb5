"""The spans of the pipeline, for an operator who follows a single event through it.

    take T ──(Kafka header traceparent)──► process T ──────────────► insert m1
      ▲ links                                ├ C1 fold                  links to every commit
    send T                                   ├ C2 send                  whose rows it may hold
    one transaction of the edge              ├ C3 commit
                                             └ C4 store
                                             links to the sampled records it settles

Only sampled records bear the header, and a commit without one of them has no span, so the work is
in proportion to what is sampled. `UNTRACED` is the default: it does nothing, once a batch, a commit
and an insert, and never anything once a record.

No method raises, blocks or waits: a trace that cannot be kept is dropped and counted.
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
"""The commits that something handed to a shard comes from; empty where none is traced."""


class CommitSpan(Protocol):
    """One commit under way."""

    @property
    def origins(self) -> Origins:
        """Itself: what the effects of the commit come from."""
        ...

    def done(self, step: str) -> None:
        """A step of the protocol ended; it began when the one before it did."""
        ...


class PartitionTracer(Protocol):
    """One assigned partition, from its opening until its memory is given up."""

    def folding(self, batch: RecordBatch) -> AbstractContextManager[None]:
        """C1 of a batch."""
        ...

    def committing(self, settles: Callable[[int], bool]) -> AbstractContextManager[CommitSpan]:
        """C2 to C5 of what was folded. ``settles(offset)``: this commit, or one before it, says
        what became of that record. Call it in the turn in which the commit is encoded."""
        ...

    def origins(self, since_ms: NDArray[np.int64], versions: NDArray[np.uint64]) -> Origins:
        """The commits whose sampled records such rows may be the first to show: ``since_ms`` is
        the append time of the oldest record that no earlier row held, ``versions`` the rows'."""
        ...

    def shown(self, oldest_unshown_ms: Callable[[], int]) -> None:
        """Rows were handed over; the oldest record that no row held yet was appended then."""
        ...

    def forget(self) -> None:
        """The partition's memory is given up."""
        ...


class Tracer(Protocol):
    """One process."""

    def taking(self, topic: str, traceparent: bytes) -> AbstractContextManager[bytes]:
        """Events come in, from a caller with that header or ``b""``. Gives the header that their
        records carry, ``b""`` for none."""
        ...

    def sending(self, topic: str, traceparents: Iterable[bytes]) -> AbstractContextManager[None]:
        """One transaction with events that `taking` let in under these headers."""
        ...

    def partition(self, tp: TopicPartition, group: str) -> PartitionTracer: ...

    def inserting(
        self, shard: int, table: str, rows: int, origins: Iterable[Origins]
    ) -> AbstractContextManager[None]:
        """One attempt to give rows to a shard."""
        ...

    def close(self, timeout_s: float) -> None:
        """Hand over what is left within the time; blocks. What is then still left is dropped."""
        ...


class Untraced:
    """The `Tracer` of a process that traces nothing."""

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
    """The `CommitSpan` of a commit without a sampled record."""

    origins: Origins = ()

    def done(self, step: str) -> None:
        return


_NOTHING: Final = nullcontext()
_NO_HEADER: Final = nullcontext(b"")
UNTRACED_COMMIT: Final = UntracedCommit()
_NO_SPAN: Final[AbstractContextManager[CommitSpan]] = nullcontext(UNTRACED_COMMIT)
UNTRACED_PARTITION: Final = UntracedPartition()
UNTRACED: Final = Untraced()
