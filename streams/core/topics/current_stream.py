"""The stream of the running code: how a declared table finds its partition's instance. The
partition sets it in its agent's task; child tasks inherit it."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, NoReturn, Protocol, TypedDict

from streams.core.errors import TableMisused

Key = str | bytes | int | None
HeadersLike = Mapping[str, str | bytes] | Sequence[tuple[str, str | bytes]] | None


class SendOptions(TypedDict, total=False):
    """None as if left out."""

    partition: int | None
    """instead of the one of the key"""
    timestamp_s: float | None
    """since the epoch, instead of the append time"""
    headers: HeadersLike


class Encoder(Protocol):
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
    def message_bytes(self) -> int: ...

    @property
    def codec(self) -> Encoder: ...


class NoTables(Mapping[str, Any]):
    """For code outside a partition. ``why`` ends the error message."""

    def __init__(self, why: str) -> None:
        self._why = why

    def __getitem__(self, name: str) -> NoReturn:
        raise TableMisused(f"table {name!r} cannot be used here: {self._why}")

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


class OwnTables(dict[str, Any]):
    """Of an agent in one partition, by name."""

    def __missing__(self, name: str) -> NoReturn:
        raise TableMisused(
            f"table {name!r} cannot be used here: this agent does not own it. An agent owns the tables "
            f"that its code names, and tables in attributes and containers are not found: give all of "
            f"them, as @app.agent(topic, tables=(...))."
        )


class Running(Protocol):
    """The tables and the transaction that code inside an agent uses."""

    tables: Mapping[str, Any]

    @property
    def partition(self) -> int: ...

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
        """To the partition of the key: with the current event, or, from a background task, at once;
        await the result then. Raises `TableMisused` elsewhere."""
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
            f"Send from `async for event in stream`; another program needs its own producer."
        )


NOWHERE = _Nowhere()
current: ContextVar[Running] = ContextVar("current_stream", default=NOWHERE)
