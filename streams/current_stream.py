"""Which stream the running code belongs to: how a declared table finds its partition's instance.

The stream partition sets it in the task of its agent; tasks that the agent starts inherit it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Any, NoReturn, Protocol

from streams.errors import TableMisused
from streams.types import OutboundRecord


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

    def emit(self, record: OutboundRecord) -> None:
        """Send with the event in progress. Raises `TableMisused` where none is."""
        ...


class _Nowhere:
    tables: Mapping[str, Any] = NoTables(
        "this code runs outside an agent. Each partition has its own part of a table, so it is "
        "read and written inside `async for event in stream` of the agent that owns it."
    )

    def emit(self, record: OutboundRecord) -> NoReturn:
        raise TableMisused(
            f"a record for {record.tp.topic} has no transaction here: this code runs outside an "
            f"agent."
        )


NOWHERE = _Nowhere()
current: ContextVar[Running] = ContextVar("current_stream", default=NOWHERE)
