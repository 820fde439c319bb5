"""The published JSON Schema of every event version, as files that tools outside can read.

`schemas/generated` holds what was last published. A type may drift from it only by publishing
again, and publishing refuses a change that old records could not survive.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from schemas.compatibility import Difference, differences
from schemas.evolution import UPCASTERS, Upcasters
from schemas.registry import FAMILIES, Family

GENERATED = Path(__file__).parent / "generated"


class Finding(NamedTuple):
    """The state of one version: ``same``, ``new``, ``changed`` (still readable), or ``broken``
    with the differences that would make published records unreadable."""

    name: str
    state: str
    differences: list[Difference]


def name_of(family: Family, version: int) -> str:
    return f"{family.name}.v{version}"


def document(family: Family, version: int) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of one version, as the types in the code define it."""
    event = family.versions[version]
    generated = msgspec.json.schema(event)
    if conditions := _conditions(family, event):
        generated["$defs"][event.__name__]["allOf"] = conditions
    for definition in generated.get("$defs", {}).values():
        if "description" in definition:
            definition["description"] = inspect.cleandoc(definition["description"])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:dia:schema:{family.name}:{version}",
        "topic": family.topic,
        **({"$comment": f"at most {family.bytes_max} bytes"} if family.bytes_max else {}),
        **generated,
    }


def _conditions(family: Family, event: type[msgspec.Struct]) -> list[dict[str, Any]]:
    """The family's needs, as far as this version has their fields."""
    fields = {field.name for field in msgspec.structs.fields(event)}
    return [
        {
            "if": {"properties": {need.field: {"const": need.value}}, "required": [need.field]},
            "then": {"properties": {need.needs: {"type": "string"}}, "required": [need.needs]},
        }
        for need in family.needs
        if {need.field, need.needs} <= fields
    ]


def encode(schema: dict[str, Any]) -> bytes:
    return msgspec.json.format(msgspec.json.encode(schema), indent=2) + b"\n"


def published(family: Family, version: int, folder: Path = GENERATED) -> dict[str, Any] | None:
    """What was last published; None for a version that never was."""
    try:
        raw = (folder / f"{name_of(family, version)}.json").read_bytes()
    except FileNotFoundError:
        return None
    found: dict[str, Any] = msgspec.json.decode(raw, type=dict[str, Any])
    return found


def review(
    families: tuple[Family, ...] = FAMILIES,
    folder: Path = GENERATED,
    upcasters: Upcasters = UPCASTERS,
) -> list[Finding]:
    """Compare every version in the code with what was published, and with the version before it
    unless an upcaster bridges the two."""
    findings = []
    for family in families:
        for version in sorted(family.versions):
            now, before = document(family, version), published(family, version, folder)
            found = differences(before, now) if before else []
            if version - 1 in family.versions and (family.name, version - 1) not in upcasters:
                found += differences(document(family, version - 1), now)
            findings.append(Finding(name_of(family, version), _state(now, before, found), found))
    return findings


def publish(families: tuple[Family, ...] = FAMILIES, folder: Path = GENERATED) -> None:
    """Write every version's document. Ask `review` first: this does not refuse."""
    for family in families:
        for version in family.versions:
            target = folder / f"{name_of(family, version)}.json"
            target.write_bytes(encode(document(family, version)))


def _state(now: dict[str, Any], before: dict[str, Any] | None, found: list[Difference]) -> str:
    if found:
        return "broken"
    if before is None:
        return "new"
    return "same" if now == before else "changed"
