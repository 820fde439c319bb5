"""The parameters of a scenario: decoding, and JSON Schema."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from streams.connect.schema_registry.documents import DRAFT, described
from streams.core.job_refusals import InvalidParameters
from streams.engine.scenarios.scenario import Scenario

GENERATED = Path(__file__).parent / "generated"
"""the published JSON Schemas of the built-in scenarios' parameters"""


def parameters(chosen: Scenario[Any], given: Mapping[str, Any]) -> Any:
    """The typed parameters. Raises `InvalidParameters` with the field."""
    try:
        return msgspec.convert(given, chosen.parameters)
    except (msgspec.ValidationError, ValueError) as error:
        raise InvalidParameters(f"parameters of {chosen.name}: {error}") from error


def document(chosen: Scenario[Any]) -> dict[str, Any]:
    identity = f"urn:dia:scenario:{chosen.name}"
    return {"$schema": DRAFT, "$id": identity, **described(chosen.parameters)}


def publish(scenarios: Iterable[Scenario[Any]]) -> None:
    for chosen in scenarios:
        raw = msgspec.json.format(msgspec.json.encode(document(chosen)), indent=2)
        (GENERATED / f"{chosen.name}.json").write_bytes(raw + b"\n")
