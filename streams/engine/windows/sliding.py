"""A table of sliding windows: what the events within a span around an instant changed in a value.

Kept are the changes: an entry for each key and event time, a list of [operator, operand]. The value of an
instant applies those of its span to the default, in the order of event time and, within a millisecond, of
the log. So it costs as much as there are changes in the span, and an event that comes late counts in
its place.
"""

from __future__ import annotations

import operator
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping
from typing import Any, Final

from streams.engine.state.table_values import Key
from streams.engine.windows.windowed import WindowedTable

ASSIGN: Final = "="
OPERATORS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    ASSIGN: lambda _, value: value,
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "**": operator.pow,
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
}


class SlidingTable(WindowedTable):
    """See the module docstring. Its keys are pairs of a key and an event time in milliseconds; an entry goes
    once the event time has passed it by the size and the expiry of its windows."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._times: dict[Key, list[int]] = {}
        """of each key, when complete events changed it, ascending"""

    def change(self, key: Key, at_ms: int, word: str, operand: Any) -> None:
        """The event in progress changes the value. Raises as `KeyedTable` for what cannot be written."""
        self[key, at_ms] = [*self._changes((key, at_ms)), [word, operand]]

    def value(self, key: Key, from_ms: int, to_ms: int, default: Any) -> Any:
        """What the changes of this span, both ends included, make of ``default``."""
        for at_ms in self._changed_at(key, from_ms, to_ms):
            for word, operand in self._changes((key, at_ms)):
                default = OPERATORS[word](default, operand)
        return default

    def has(self, key: Key, from_ms: int, to_ms: int) -> bool:
        """Whether there are changes in this span."""
        return bool(self._changed_at(key, from_ms, to_ms))

    def changed_keys(self, from_ms: int, to_ms: int) -> list[Key]:
        """The keys that have changes in this span."""
        names = dict.fromkeys([*self._times, *(name for name, _ in self._staged)])
        return [name for name in names if self.has(name, from_ms, to_ms)]

    def _changed_at(self, key: Key, from_ms: int, to_ms: int) -> list[int]:
        times = self._times.get(key, [])
        found = times[bisect_left(times, from_ms) : bisect_right(times, to_ms)]
        staged = [at for name, at in self._staged if name == key and from_ms <= at <= to_ms]
        return found if not staged else sorted({*found, *staged})

    def _changes(self, key: tuple[Key, int]) -> list[Any]:
        """Read beside `__getitem__`, which would stage a copy of every list that is only looked at."""
        if key in self._staged:
            staged: list[Any] = self._staged[key]
            return staged
        held = self._kept.get(key)
        return [] if held is None else [*self._form.given(held)]

    def _index(self, key: tuple[Key, int]) -> None:
        super()._index(key)
        name, at_ms = key
        times = self._times.setdefault(name, [])
        place = bisect_left(times, at_ms)
        known = place < len(times) and times[place] == at_ms
        if key in self._kept:
            if not known:
                times.insert(place, at_ms)
        elif known:
            del times[place]
        if not times:
            del self._times[name]
