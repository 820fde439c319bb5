"""A declared table whose value depends on the events around one event.

    spent = app.Table("spent", default=float).sliding(before=3600, after=0, expires=600)

    async for order in stream:
        spent[order.account] += order.amount
        if spent[order.account].value() > 1000: ...    # within the hour up to this order

A change counts for every event at most ``before`` later or ``after`` earlier. It is kept until the
event time has passed it by ``before`` and ``expires``.
"""

from __future__ import annotations

from typing import Any, Self

from streams.core.errors import UsageError
from streams.core.topics.current_stream import current
from streams.engine.state.table_values import Key, ValueForm
from streams.engine.streams.declared_table import DeclaredTable
from streams.engine.streams.stream import Event
from streams.engine.streams.windowed_table import Seconds, WindowedDeclaration, duration_ms
from streams.engine.windows.sliding import ASSIGN, OPERATORS, SlidingTable
from streams.engine.windows.windowed import Windows


class SlidingDeclaration(WindowedDeclaration):
    """Raises `UsageError` for invalid spans."""

    def __init__(
        self, table: DeclaredTable, before: Seconds, after: Seconds, expires: Seconds
    ) -> None:
        self._before_ms, self._after_ms = duration_ms(before), duration_ms(after)
        expires_ms = duration_ms(expires)
        if self._before_ms <= 0 or self._after_ms < 0 or expires_ms < 0:
            raise UsageError(
                f"sliding windows of table {table.name!r}: before ({self._before_ms} ms) must be "
                f"more than 0, after ({self._after_ms} ms) and expires ({expires_ms} ms) 0 or "
                "more."
            )
        if table.default is None:
            raise UsageError(
                f"table {table.name!r} has sliding windows and needs a default to begin with, for "
                "example default=int."
            )
        windows = Windows(size_ms=self._before_ms, step_ms=self._before_ms, expires_ms=expires_ms)
        super().__init__(table, windows)

    def form(self) -> ValueForm:
        """Of lists of changes, whatever the values are."""
        return ValueForm(self.name)

    def empty(self, max_bytes: int = 1 << 62) -> SlidingTable:
        return SlidingTable(
            self.name,
            self.form(),
            self.windows,
            own_time=self._by_field[0],
            any_key=self.keys_are == "any",
            max_bytes=max_bytes,
            declaration=self.declaration(),
        )

    def declaration(self) -> dict[str, Any]:
        return {"kind": "sliding", "before_ms": self._before_ms, "after_ms": self._after_ms}

    # --- inside an agent ---------------------------------------------------------------------

    @property
    def part(self) -> SlidingTable:
        table: SlidingTable = current.get().tables[self.name]
        return table

    def change(self, key: Key, word: str, operand: Any) -> None:
        assert self.default is not None
        # An operand that does not fit fails its own event, not those that read it.
        OPERATORS[word](self.default(), operand)
        table, at_ms = self.part, self.time_ms()
        table.observe(at_ms)
        table.change(key, at_ms, word, operand)

    def value_at(self, key: Key, at_ms: int) -> Any:
        assert self.default is not None
        return self.part.value(key, *self._span(at_ms), self.default())

    def _span(self, at_ms: int) -> tuple[int, int]:
        return at_ms - self._before_ms, at_ms + self._after_ms

    def __getitem__(self, key: Key) -> SlidingSet:  # type: ignore[override]  # with the same words
        return SlidingSet(self, key)

    def __setitem__(self, key: Key, value: Any) -> None:
        if not isinstance(value, SlidingSet):  # assigned at the end of `table[key] += 1`
            self.change(key, ASSIGN, value)

    def __delitem__(self, key: Key) -> None:
        assert self.default is not None
        self.change(key, ASSIGN, self.default())

    def __contains__(self, key: object) -> bool:
        return self.part.has(key, *self._span(self.read_ms(None)))

    def keys(self) -> list[Key]:
        """The keys that have changes in the span that `SlidingSet.value` reads."""
        return self.part.changed_keys(*self._span(self.read_ms(None)))


class SlidingSet:
    def __init__(self, table: SlidingDeclaration, key: Key) -> None:
        self._table = table
        self._key = key

    def value(self, event: Event | None = None) -> Any:
        """Around the time that the table is relative to."""
        return self._table.value_at(self._key, self._table.read_ms(event))

    def current(self, event: Event | None = None) -> Any:
        """Around the event."""
        return self._table.value_at(self._key, self._table.time_ms(event))

    def now(self) -> Any:
        """Around the newest event of the partition."""
        return self._table.value_at(self._key, self._table.now_ms())

    def delta(self, d: Seconds, event: Event | None = None) -> Any:
        """Around the time ``d`` before the event."""
        return self._table.value_at(self._key, self._table.time_ms(event) - duration_ms(d))

    def _change(self, word: str, operand: Any) -> Self:
        self._table.change(self._key, word, operand)
        return self

    def __iadd__(self, other: Any) -> Self:
        return self._change("+", other)

    def __isub__(self, other: Any) -> Self:
        return self._change("-", other)

    def __imul__(self, other: Any) -> Self:
        return self._change("*", other)

    def __itruediv__(self, other: Any) -> Self:
        return self._change("/", other)

    def __ifloordiv__(self, other: Any) -> Self:
        return self._change("//", other)

    def __imod__(self, other: Any) -> Self:
        return self._change("%", other)

    def __ipow__(self, other: Any) -> Self:
        return self._change("**", other)

    def __iand__(self, other: Any) -> Self:
        return self._change("&", other)

    def __ior__(self, other: Any) -> Self:
        return self._change("|", other)

    def __ixor__(self, other: Any) -> Self:
        return self._change("^", other)

    def __repr__(self) -> str:
        return f"<sliding value of {self._key!r} in {self._table!r}>"
