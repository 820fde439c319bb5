"""`app.Table`: a declared key/value table, and windows of it."""

from __future__ import annotations

from typing import Any

from streams.core.errors import UnsupportedByDia
from streams.engine.state.keyed import Default
from streams.engine.streams.declared_table import DeclaredTable, Keys
from streams.engine.streams.sliding_table import SlidingDeclaration
from streams.engine.streams.windowed_table import OnClose, Seconds, WindowedDeclaration, windows_of

_WITHOUT_MEANING = frozenset(
    {
        "help",
        "key_serializer",
        "key_type",
        "options",
        "partitions",
        "recover_callbacks",
        "recovery_buffer_size",
        "standby_buffer_size",
        "value_serializer",
    }
)
"""arguments of Faust without an effect here: a table has the partitions of its agent's topic, and
its state is MessagePack"""


class AppTable(DeclaredTable):
    """See `DeclaredTable`. Raises `UnsupportedByDia` for arguments of Faust's ``app.Table`` that
    dia lacks."""

    def __init__(
        self,
        name: str,
        *,
        default: Default | None = None,
        value_type: Any = None,
        keys: Keys = "record",
        on_window_close: OnClose | None = None,
        use_partitioner: bool = False,
        **faust: Any,
    ) -> None:
        super().__init__(name, default=default, value_type=value_type, keys=keys)
        self._on_window_close = on_window_close
        if use_partitioner:
            raise UnsupportedByDia(
                f"table {name!r}: use_partitioner writes keys of other partitions, which a crash "
                "may lose or double. Send the event to a topic under that key, and write it "
                "there."
            )
        if unknown := sorted(faust.keys() - _WITHOUT_MEANING):
            raise UnsupportedByDia(
                f"table {name!r}: {unknown[0]} is not supported. dia manages the changelog topic; "
                "see `dia topics plan`."
            )

    def tumbling(
        self, size: Seconds, expires: Seconds | None = None, *, key_index: bool = False
    ) -> WindowedDeclaration:
        """Consecutive windows of ``size``, each closed ``expires`` after its end (None: never).
        ``key_index`` has no effect: it always exists."""
        return self.hopping(size, size, expires, key_index=key_index)

    def hopping(
        self,
        size: Seconds,
        step: Seconds,
        expires: Seconds | None = None,
        *,
        key_index: bool = False,
    ) -> WindowedDeclaration:
        """Windows of ``size``, one of which begins every ``step``."""
        windows = windows_of(self.name, size, step, expires)
        return WindowedDeclaration(self, windows, self._on_window_close)

    def sliding(
        self, before: Seconds, after: Seconds, expires: Seconds, *, key_index: bool = False
    ) -> SlidingDeclaration:
        """The value at an event covers the events from ``before`` it to ``after`` it. Raises
        `UnsupportedByDia` if the table has on_window_close: sliding windows do not end."""
        if self._on_window_close is not None:
            raise UnsupportedByDia(
                f"table {self.name!r}: on_window_close needs windows that end (.tumbling() or "
                ".hopping()); a sliding window moves with each event."
            )
        return SlidingDeclaration(self, before, after, expires)


class SetTable(DeclaredTable):
    """A table of sets: ``table[key].add(member)`` counts with its event. A set is written whole;
    keep it below some thousand members."""

    def __init__(self, name: str, *, keys: Keys = "record", **faust: Any) -> None:
        super().__init__(name, default=set, value_type=set, keys=keys)
        if unknown := sorted(faust.keys() - _WITHOUT_MEANING - {"start_manager"}):
            raise UnsupportedByDia(f"set table {name!r}: {unknown[0]} is not supported.")
