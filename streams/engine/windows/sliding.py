"""A table of sliding windows: the changes of a value within a span around an instant.

An entry for each key and event time holds a list of [operator, operand]. The value of an instant
applies the changes of its span to the default, by event time and then log order.
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
    """Keys are pairs of a key and an event time in milliseconds; an entry is deleted once the event
    time has passed it by size and expiry of the windows."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._times: dict[Key, list[int]] = {}
        """event times of each key's committed changes, ascending"""

    def change(self, key: Key, at_ms: int, word: str, operand: Any) -> None:
        """Change the value in the event in progress. Raises as `KeyedTable`."""
        self[key, at_ms] = [*self._changes((key, at_ms)), [word, operand]]

    def value(self, key: Key, from_ms: int, to_ms: int, default: Any) -> Any:
        """Apply the changes of this span, both ends included, to ``default``."""
        for at_ms in self._changed_at(key, from_ms, to_ms):
            for word, operand in self._changes((key, at_ms)):
                default = OPERATORS[word](default, operand)
        return default

    def has(self, key: Key, from_ms: int, to_ms: int) -> bool:
        return bool(self._changed_at(key, from_ms, to_ms))

    def changed_keys(self, from_ms: int, to_ms: int) -> list[Key]:
        names = dict.fromkeys([*self._times, *(name for name, _ in self._staged)])
        return [name for name in names if self.has(name, from_ms, to_ms)]

    def _changed_at(self, key: Key, from_ms: int, to_ms: int) -> list[int]:
        times = self._times.get(key, [])
        found = times[bisect_left(times, from_ms) : bisect_right(times, to_ms)]
        staged = [at for name, at in self._staged if name == key and from_ms <= at <= to_ms]
        return found if not staged else sorted({*found, *staged})

    def _changes(self, key: tuple[Key, int]) -> list[Any]:
        """Bypasses `__getitem__`, which would stage a copy of each list it reads."""
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
