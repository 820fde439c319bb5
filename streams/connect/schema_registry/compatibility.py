"""Backward compatibility of JSON Schemas: can the new reader read all data of the old one?

Covers what msgspec writes: objects, arrays, scalars with bounds, enums, ``anyOf``, ``$ref`` into
``$defs``, and ``allOf``. An unknown keyword counts as a difference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import NoneType
from typing import Any, NamedTuple, TypeAlias

Schema: TypeAlias = Mapping[str, Any]

_LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_COVERED = {
    *_LOWER, *_UPPER,
    "type", "enum", "anyOf", "allOf", "items", "properties", "required", "additionalProperties",
}  # fmt: skip
_DESCRIPTIVE = {
    "title", "description", "default", "examples", "$schema", "$id", "$defs", "$ref", "topic", "$comment",
}  # fmt: skip


class SchemaDifference(NamedTuple):
    """The old schema allows it and the new one refuses it."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def differences(old: Schema, new: Schema) -> list[SchemaDifference]:
    """Empty when compatible."""
    return _Comparison(old, new).compare(old, new, "$")


class _Comparison:
    """Each ``$ref`` resolves in its own document."""

    def __init__(self, old_root: Schema, new_root: Schema) -> None:
        self._old_root = old_root
        self._new_root = new_root
        self._open: list[tuple[Any, Any]] = []

    def compare(self, old: Schema, new: Schema, path: str) -> list[SchemaDifference]:
        pair = (old.get("$ref"), new.get("$ref"))
        if pair in self._open:
            # A recursive type is compatible if the rest of it is.
            return []
        old, new = _resolve(old, self._old_root), _resolve(new, self._new_root)
        if pair != (None, None):
            self._open.append(pair)
        unions = "anyOf" in old or "anyOf" in new
        compare = self._compare_unions if unions else self._compare_types
        found = list(compare(old, new, path))
        if pair != (None, None):
            self._open.pop()
        return found

    def _compare_unions(self, old: Schema, new: Schema, path: str) -> Iterator[SchemaDifference]:
        """Every alternative of the old schema must fit at least one of the new."""
        choices: Sequence[Schema] = new.get("anyOf", [new])
        for option in old.get("anyOf", [old]):
            tries = [self.compare(option, choice, path) for choice in choices]
            if all(tries):
                yield min(tries, key=len)[0]

    def _compare_types(self, old: Schema, new: Schema, path: str) -> Iterator[SchemaDifference]:
        yield from _compare_unknown(old, new, path)
        before = _types(old)
        if "type" in new and not before <= _accepted(new["type"]):
            yield SchemaDifference(path, f"was {' or '.join(sorted(before))}, is now {new['type']}")
            return
        yield from _compare_bounds(old, new, path)
        for condition in new.get("allOf", ()):
            if condition not in old.get("allOf", ()):
                yield SchemaDifference(path, f"has the new condition {condition}")
        if "enum" in new:
            for value in old.get("enum", ["anything else"]):
                if value not in new["enum"]:
                    yield SchemaDifference(path, f"no longer allows {value!r}")
        yield from self._compare_objects(old, new, path)
        if "items" in new:
            yield from self.compare(old.get("items", {}), new["items"], f"{path}[]")

    def _compare_objects(self, old: Schema, new: Schema, path: str) -> Iterator[SchemaDifference]:
        required = set(old.get("required", ()))
        for name in new.get("required", ()):
            if name not in required:
                yield SchemaDifference(f"{path}.{name}", "is now required")
        fields: Mapping[str, Schema] = old.get("properties", {})
        known: Mapping[str, Schema] = new.get("properties", {})
        rest = new.get("additionalProperties", True)
        if rest is False and old.get("additionalProperties", True) is not False:
            yield SchemaDifference(path, "no longer ignores unknown fields")
        for name, field in fields.items():
            if name in known:
                yield from self.compare(field, known[name], f"{path}.{name}")
            elif isinstance(rest, Mapping):
                yield from self.compare(field, rest, f"{path}.{name}")
        if isinstance(rest, Mapping):
            before = old.get("additionalProperties", True)
            yield from self.compare(
                before if isinstance(before, Mapping) else {}, rest, f"{path}.*"
            )


def _resolve(schema: Schema, root: Schema) -> Schema:
    ref = schema.get("$ref")
    if ref is None:
        return schema
    found: Schema = root["$defs"][str(ref).removeprefix("#/$defs/")]
    return found


_JSON_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number", NoneType: "null"}


def _types(schema: Schema) -> set[str]:
    if "type" in schema:
        return {schema["type"]}
    if "enum" in schema:
        return {_JSON_TYPES[type(value)] for value in schema["enum"]}
    return {"anything"}


def _accepted(name: str) -> set[str]:
    return {"integer", "number"} if name == "number" else {name}


def _compare_bounds(old: Schema, new: Schema, path: str) -> Iterator[SchemaDifference]:
    for keyword in (*_LOWER, *_UPPER):
        if keyword not in new:
            continue
        before, after = old.get(keyword), new[keyword]
        tighter = before is None or (before < after if keyword in _LOWER else before > after)
        if tighter:
            yield SchemaDifference(path, f"{keyword} was {before}, is now {after}")


def _compare_unknown(old: Schema, new: Schema, path: str) -> Iterator[SchemaDifference]:
    for keyword in sorted(set(new) - _COVERED - _DESCRIPTIVE):
        if new[keyword] != old.get(keyword):
            yield SchemaDifference(path, f"{keyword} changed")
