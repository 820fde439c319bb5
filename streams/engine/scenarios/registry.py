"""Every scenario by name: those of this build, and plug-ins of the entry point group.

A plug-in is an installed distribution that declares, for one,

    [project.entry-points."dia.scenarios"]
    churn = "acme.churn:CHURN"

where ``CHURN`` is a `Scenario`. Its name must be the entry point's, and not one that is taken.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import msgspec

from streams.core.errors import UsageError
from streams.core.job_refusals import InvalidParameters, UnknownScenario
from streams.engine.scenarios.monte_carlo import MONTE_CARLO
from streams.engine.scenarios.policy_threshold import POLICY_THRESHOLD
from streams.engine.scenarios.replay_metrics import REPLAY_METRICS
from streams.engine.scenarios.scenario import Scenario

GROUP = "dia.scenarios"
GENERATED = Path(__file__).parent / "generated"
"""The published JSON Schema of each built-in scenario's parameters."""

BUILT_IN: tuple[Scenario[Any], ...] = (MONTE_CARLO, POLICY_THRESHOLD, REPLAY_METRICS)


@cache
def scenarios() -> Mapping[str, Scenario[Any]]:
    """All scenarios of this environment. Raises `UsageError` for a plug-in that is none."""
    found = {scenario.name: scenario for scenario in BUILT_IN}
    for point in entry_points(group=GROUP):
        plugin = point.load()
        if not isinstance(plugin, Scenario) or plugin.name != point.name or plugin.name in found:
            raise UsageError(
                f"entry point {point.name} = {point.value} of group {GROUP} is not a scenario "
                f"named {point.name!r}, or that name is taken. Uninstall or mend the plug-in."
            )
        found[plugin.name] = plugin
    return found


def scenario(name: str) -> Scenario[Any]:
    """Raises `UnknownScenario` naming those there are."""
    try:
        return scenarios()[name]
    except KeyError:
        known = ", ".join(scenarios())
        raise UnknownScenario(f"no scenario {name!r}; there are: {known}.") from None


def parameters(chosen: Scenario[Any], given: Mapping[str, Any]) -> Any:
    """The typed parameters. Raises `InvalidParameters` naming the field."""
    try:
        return msgspec.convert(given, chosen.parameters)
    except (msgspec.ValidationError, ValueError) as error:
        raise InvalidParameters(f"parameters of {chosen.name}: {error}") from error


def document(chosen: Scenario[Any]) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a scenario's parameters."""
    generated = msgspec.json.schema(chosen.parameters)
    for definition in generated.get("$defs", {}).values():
        if "description" in definition:
            definition["description"] = inspect.cleandoc(definition["description"])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:dia:scenario:{chosen.name}",
        **generated,
    }


def publish() -> None:
    """Write the documents of the built-in scenarios."""
    for built_in in BUILT_IN:
        raw = msgspec.json.format(msgspec.json.encode(document(built_in)), indent=2)
        (GENERATED / f"{built_in.name}.json").write_bytes(raw + b"\n")
