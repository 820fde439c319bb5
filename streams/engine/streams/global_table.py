"""`app.GlobalTable`: a table that one agent writes, and every agent and page of the app reads
whole.

    rates = app.GlobalTable("rates", default=float)

    @app.agent(changes)
    async def keep(stream):                  # the first agent that names it writes it
        async for change in stream:
            rates[change.currency] = change.rate

    @app.agent(orders)
    async def convert(stream):
        async for order in stream:
            ... order.amount * rates[order.currency]

In the writing agent it is the partition's own part. Elsewhere it is the recently committed state of
all partitions (streams/engine/runtime/global_view.py): an event that runs again may read another
value.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn, Protocol, TypeVar

from streams.core.errors import GlobalTablePending, TableMisused, UnsupportedByDia
from streams.core.topics.current_stream import current
from streams.core.topics.topic import Topic
from streams.engine.state.keyed import KeyedTable
from streams.engine.state.table_values import Key
from streams.engine.streams.app_table import AppTable
from streams.engine.streams.stream import Stream


class Whole(Protocol):
    """All partitions of a table in the memory of this process."""

    def require_whole(self) -> None:
        """Raises `GlobalTablePending` before the table was read once."""
        ...

    def __getitem__(self, key: Key) -> Any:
        """Raises KeyError for an absent key without a default."""
        ...

    def keys(self) -> list[Key]: ...

    def __contains__(self, key: object) -> bool: ...


class Writing(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def source(self) -> Topic: ...

    @property
    def group(self) -> str: ...


class GlobalTable(AppTable):
    writer: Writing | None = None
    whole: Whole | None = None
    """set by the worker process"""

    def claimed_by(self, agent: Writing) -> bool:
        """Whether ``agent`` writes the table: the first agent that asks."""
        if self.writer is None:
            self.writer = agent
        return self.writer is agent

    def tumbling(self, *args: Any, **options: Any) -> NoReturn:
        raise UnsupportedByDia(
            f"global table {self.name!r} has no windows: use app.Table for windows, and send their "
            "results."
        )

    hopping = sliding = tumbling

    # --- writing -----------------------------------------------------------------------------

    def _own(self) -> Any:
        """The part of the partition whose event is in progress. Raises `TableMisused` elsewhere."""
        running = current.get()
        if isinstance(running.tables, dict) and self.name in running.tables:
            return running.tables[self.name]
        writer = "none" if self.writer is None else f"only agent {self.writer.name}"
        raise _failing(
            TableMisused(
                f"global table {self.name!r}: {writer} writes it, the first that names it. Send "
                "the change to its topic."
            )
        )

    def __setitem__(self, key: Key, value: Any) -> None:
        self._own()[key] = value

    def __delitem__(self, key: Key) -> None:
        del self._own()[key]

    def __getattr__(self, name: str) -> Any:
        """pop, setdefault, update, clear of the writer's part."""
        if name.startswith("_") or not hasattr(KeyedTable, name):
            raise AttributeError(f"table {self.name!r} has no {name!r}")
        return getattr(self._own(), name)

    # --- reading -----------------------------------------------------------------------------

    def _read(self) -> Any:
        running = current.get()
        if isinstance(running.tables, dict) and self.name in running.tables:
            return running.tables[self.name]
        if self.whole is None:
            raise TableMisused(
                f"global table {self.name!r} can be read in agents and pages of a worker only."
            )
        try:
            self.whole.require_whole()
        except GlobalTablePending as pending:
            raise _failing(pending) from None
        return self.whole

    def __getitem__(self, key: Key) -> Any:
        return self._read()[key]

    def get(self, key: Key, default: Any = None) -> Any:
        found = self._read()
        return found[key] if key in found else default  # noqa: SIM401 - it is no dictionary

    def __contains__(self, key: object) -> bool:
        return key in self._read()

    def keys(self) -> list[Key]:
        """Of all partitions; in the writing agent, of its own."""
        found: list[Key] = self._read().keys()
        return found

    def items(self) -> list[tuple[Key, Any]]:
        found = self._read()
        return [(key, found[key]) for key in found.keys()]  # noqa: SIM118 - nor is this

    def values(self) -> list[Any]:
        return [value for _, value in self.items()]

    def __iter__(self) -> Iterator[Key]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.keys())


E = TypeVar("E", bound=Exception)


def _failing(error: E) -> E:
    """``error``, also recorded as the event's failure: the agent's code may catch it."""
    running = current.get()
    if isinstance(running, Stream):
        running.failed = error
    return error
