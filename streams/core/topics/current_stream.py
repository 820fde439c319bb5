"""Which stream the running code belongs to: how a declared table finds its partition's instance.

The stream partition sets it in the task of its agent; tasks that the agent starts inherit it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, NoReturn, Protocol, TypedDict

from streams.core.errors import TableMisused
from streams.core.types import OutboundRecord

Key = str | bytes | int | None
HeadersLike = Mapping[str, str | bytes] | Sequence[tuple[str, str | bytes]] | None


class SendOptions(TypedDict, total=False):
    """What a record may have beside its key and value; None as if it were left out."""

    partition: int | None
    """instead of the one that the key names"""
    timestamp_s: float | None
    """since the epoch, instead of the time of its append"""
    headers: HeadersLike


class Encoder(Protocol):
    """Writes values of a topic."""

    def encode(self, event: Any) -> bytes: ...


class Target(Protocol):
    """A declared topic, as a sender needs it."""

    @property
    def name(self) -> str: ...

    @property
    def partitions(self) -> int: ...

    @property
    def key_field(self) -> str: ...

    @property
    def compacting(self) -> bool: ...

    @property
    def codec(self) -> Encoder: ...


class NoTables(Mapping[str, Any]):
    """Where no table can be reached. ``why`` ends the sentence about it."""

    def __init__(self, why: str) -> None:
        self._why = why

    def __getitem__(self, name: str) -> NoReturn:
        raise TableMisused(f"table {name!r} cannot be used here: {self._why}")

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


class Running(Protocol):
    """What code inside an agent reaches: the tables of its partition, and its transaction."""

    tables: Mapping[str, Any]

    @property
    def partition(self) -> int:
        """Number of the partition whose events the code handles."""
        ...

    def send(
        self,
        topic: Target,
        key: Key = None,
        value: Any = None,
        *,
        partition: int | None = None,
        timestamp_s: float | None = None,
        headers: HeadersLike = None,
    ) -> Awaitable[None] | None:
        """Send ``value`` to the partition that the key names: with the event in progress, or, from a
        background task, at once, which is done when the answer is.

        Raises `TableMisused` where neither is."""
        ...

    def emit(self, record: OutboundRecord) -> None:
        """Send with the event in progress. Raises `TableMisused` where none is."""
        ...


class _Nowhere:
    tables: Mapping[str, Any] = NoTables(
        "this code runs outside an agent. Each partition has its own part of a table, so it is "
        "read and written inside `async for event in stream` of the agent that owns it."
    )

    partition = -1

    def send(self, topic: Target, key: Key = None, value: Any = None, **options: Any) -> NoReturn:
        raise TableMisused(
            f"a record for {topic.name} has no transaction here: this code runs outside an agent. "
            f"Send from `async for event in stream`; a program beside the worker has its own producer."
        )

    def emit(self, record: OutboundRecord) -> NoReturn:
        raise TableMisused(
            f"a record for {record.tp.topic} has no transaction here: this code runs outside an "
            f"agent."
        )


NOWHERE = _Nowhere()
current: ContextVar[Running] = ContextVar("current_stream", default=NOWHERE)
