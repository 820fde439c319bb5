"""A declared key/value table; in an agent's code it is the partition's part.

totals = app.Table("totals", default=float)

async for order in stream:
    totals[order.account] += order.amount
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeAlias

from streams.core.errors import UsageError
from streams.core.topics.current_stream import current
from streams.engine.engine_tables import ENGINE_TABLES
from streams.engine.state.keyed import Default, KeyedTable
from streams.engine.state.table import TableContext, TableSpec
from streams.engine.state.table_values import Key, ValueForm, form_of, list_form

NAME_MAX_BYTES = 200
Keys: TypeAlias = Literal["record", "any"]


def user_prefix(name: str) -> bytes:
    """The prefix of a user's table in store and changelog. No prefix begins another one."""
    raw = name.encode()
    return b"T" + bytes([len(raw)]) + raw


class DeclaredTable:
    """``default`` makes the value of an absent key. ``value_type``: a type that msgspec knows,
    `set`, or a faust.Record; None: any MessagePack value, where tuples and sets come back as lists.
    ``keys`` "record": a key (of a tuple its first part) must belong to the partition of the event
    that writes it, by Kafka's default partitioner. "any": each partition has its own entry of a
    key.

    Raises `UsageError`, and `TableMisused` for a ``value_type`` that cannot be written.
    """

    def __init__(
        self,
        name: str,
        *,
        default: Default | None = None,
        value_type: Any = None,
        keys: Keys = "record",
    ) -> None:
        if not 0 < len(name.encode()) <= NAME_MAX_BYTES:
            raise UsageError(f"a table has a name of 1 to {NAME_MAX_BYTES} bytes, not {name!r}")
        if name in ENGINE_TABLES:
            raise UsageError(f"a table cannot be called {name!r}: the engine has one of that name.")
        if default is not None and not callable(default):
            raise UsageError(
                f"default={default!r} of table {name!r} is no function: give one that makes the "
                f"value, for example default={type(default).__name__}"
            )
        self.name = name
        self.default = default
        self.value_type = value_type
        self.keys_are: Keys = keys
        self.identity = object()
        """of this declaration and its copies"""
        self.form()

    def form(self) -> ValueForm:
        """The form of values. With ``default=list`` each value is a list of ``value_type``."""
        kind = self.value_type
        if (
            self.default is list
            and kind is not None
            and getattr(kind, "__origin__", kind) is not list
        ):
            return list_form(self.name, kind)
        return form_of(self.name, kind)

    @property
    def spec(self) -> TableSpec[KeyedTable]:
        return TableSpec(self.name, user_prefix(self.name), self._build)

    def _build(self, context: TableContext) -> KeyedTable:
        return self.empty(context.settings.max_table_bytes)

    def empty(self, max_bytes: int = 1 << 62) -> KeyedTable:
        return KeyedTable(
            self.name,
            self.form(),
            default=self.default,
            any_key=self.keys_are == "any",
            max_bytes=max_bytes,
            declaration=self.declaration(),
        )

    def declaration(self) -> dict[str, Any]:
        """The properties that must not change while the state exists."""
        kind = "set" if self.value_type is set else "keyed"
        return {"kind": kind, "value": _type_name(self.value_type)}

    # --- the part of the partition whose event is in progress --------------------------------

    def __getitem__(self, key: Key) -> Any:
        return current.get().tables[self.name][key]

    def __setitem__(self, key: Key, value: Any) -> None:
        current.get().tables[self.name][key] = value

    def __delitem__(self, key: Key) -> None:
        del current.get().tables[self.name][key]

    def __contains__(self, key: object) -> bool:
        return key in current.get().tables[self.name]

    def __iter__(self) -> Iterator[Key]:
        return iter(current.get().tables[self.name])

    def __len__(self) -> int:
        return len(current.get().tables[self.name])

    def __bool__(self) -> bool:
        return True

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """get, pop, setdefault, update, clear, keys, values, items of the partition's part."""
        if name.startswith("_"):
            raise AttributeError(name)
        if not hasattr(KeyedTable, name):
            raise AttributeError(f"table {self.name!r} has no {name!r}")
        method: Callable[..., Any] = getattr(current.get().tables[self.name], name)
        return method

    def __repr__(self) -> str:
        return f"<table {self.name!r}>"


def _type_name(kind: Any) -> str:
    """The name of a type, without its module."""
    if kind is None:
        return ""
    return getattr(kind, "__qualname__", None) or str(kind)
