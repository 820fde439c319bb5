"""The published JSON Schema of every event version, for external tools, in the folder of an app
(`App.schemas`)."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from streams.connect.schema_registry.compatibility import SchemaDifference, differences
from streams.core.topics.topic import Topic, ValueType

DRAFT = "https://json-schema.org/draft/2020-12/schema"


class VersionFinding(NamedTuple):
    """``same``, ``new``, ``changed`` (still readable), or ``broken`` with the differences that
    would make published records unreadable."""

    name: str
    state: str
    differences: list[SchemaDifference]


def name_of(topic: Topic, version: int) -> str:
    return f"{topic.schema}.v{version}"


def described(kind: Any) -> dict[str, Any]:
    """Its schema as msgspec generates it, with docstrings without indentation."""
    generated = msgspec.json.schema(kind)
    for definition in generated.get("$defs", {}).values():
        if "description" in definition:
            definition["description"] = inspect.cleandoc(definition["description"])
    return generated


def document(topic: Topic, version: int) -> dict[str, Any]:
    """Draft 2020-12, from the types in the code."""
    event = topic.versions[version]
    generated = described(event)
    if conditions := _conditions(topic, event):
        generated["$defs"][event.__name__]["allOf"] = conditions
    return {
        "$schema": DRAFT,
        "$id": f"urn:dia:schema:{topic.schema}:{version}",
        "topic": topic.name,
        **({"$comment": f"at most {topic.bytes_max} bytes"} if topic.bytes_max else {}),
        **generated,
    }


def _conditions(topic: Topic, event: ValueType) -> list[dict[str, Any]]:
    """The topic's requirements, for the fields that this version has."""
    if not topic.needs:
        return []
    fields = {field.name for field in msgspec.structs.fields(event)}
    return [
        {
            "if": {"properties": {need.field: {"const": need.value}}, "required": [need.field]},
            "then": {"properties": {need.needs: {"type": "string"}}, "required": [need.needs]},
        }
        for need in topic.needs
        if {need.field, need.needs} <= fields
    ]


def encode(schema: dict[str, Any]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(schema), indent=2) + b"\n"


def published(topic: Topic, version: int, folder: Path) -> dict[str, Any] | None:
    """None for an unpublished version."""
    try:
        raw = (folder / f"{name_of(topic, version)}.json").read_bytes()
    except FileNotFoundError:
        return None
    found: dict[str, Any] = msgspec.json.decode(raw, type=dict[str, Any])
    return found


def review(topics: Iterable[Topic], folder: Path) -> list[VersionFinding]:
    """Compare every version in the code with its published document, and with the version before it
    unless an upcaster connects the two."""
    findings = []
    for topic in topics:
        for version in sorted(topic.versions):
            now, before = document(topic, version), published(topic, version, folder)
            found = differences(before, now) if before else []
            if version - 1 in topic.versions and version - 1 not in topic.upcasters:
                found += differences(document(topic, version - 1), now)
            findings.append(
                VersionFinding(name_of(topic, version), _state(now, before, found), found)
            )
    return findings


def publish(topics: Iterable[Topic], folder: Path) -> None:
    """Ask `review` first: this does not refuse."""
    folder.mkdir(parents=True, exist_ok=True)
    for topic in topics:
        for version in topic.versions:
            target = folder / f"{name_of(topic, version)}.json"
            target.write_bytes(encode(document(topic, version)))


def _state(
    now: dict[str, Any], before: dict[str, Any] | None, found: list[SchemaDifference]
) -> str:
    if found:
        return "broken"
    if before is None:
        return "new"
    return "same" if now == before else "changed"
