"""Detects schemas with which a small body could nest without end or hold unlimited empty items, in
fastavro's parsed form with full names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from fastavro.types import Schema

Named = Mapping[str, Schema]


def nests_itself(named: Named) -> bool:
    """At any depth."""
    uses = {name: {*_names(_members(schema))} for name, schema in named.items()}
    try:
        TopologicalSorter(uses).prepare()
    except CycleError:
        return True
    return False


def endless_items(schema: Schema, named: Named) -> str:
    """An array item type whose values take no bytes; "" where there is none."""
    for part in (schema, *named.values()):
        for array in _arrays(part):
            if _takes_nothing(array["items"], named, ()):
                items = array["items"]
                return items if isinstance(items, str) else str(items.get("name") or items["type"])
    return ""


def _members(schema: Any) -> list[Any]:
    if isinstance(schema, list):
        return schema
    if not isinstance(schema, dict):
        return []
    kind = schema["type"]
    if kind in ("record", "error"):
        return [field["type"] for field in schema["fields"]]
    if kind == "array":
        return [schema["items"]]
    if kind == "map":
        return [schema["values"]]
    return [kind] if isinstance(kind, dict | list) else []


def _names(schemas: list[Any]) -> Iterator[str]:
    for schema in schemas:
        if isinstance(schema, str):
            yield schema
        elif isinstance(schema, dict) and "name" in schema:
            yield schema["name"]
        else:
            yield from _names(_members(schema))


def _arrays(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict) and schema["type"] == "array":
        yield schema
    for member in _members(schema):
        yield from _arrays(member)


def _takes_nothing(schema: Any, named: Named, above: tuple[str, ...]) -> bool:
    if isinstance(schema, str) and schema in named and schema not in above:
        return _takes_nothing(named[schema], named, (*above, schema))
    if not isinstance(schema, dict):
        return bool(schema == "null")
    kind = schema["type"]
    if kind == "fixed":
        return bool(schema["size"] == 0)
    if kind in ("record", "error"):
        return all(_takes_nothing(member, named, above) for member in _members(schema))
    if isinstance(kind, dict | list):
        return _takes_nothing(kind, named, above)
    return bool(kind == "null")
