"""The chart, rendered by Helm, and the validators of its output."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import helm_python as helm
import jsonschema
import kubernetes_validate
import yaml

ROOT = Path(__file__).parents[3]
CHART = ROOT / "ops/helm/dia"
SHAPES = sorted((CHART / "ci").glob("*-values.yaml"))
KUBERNETES = "1.37"
_CRDS = Path(__file__).parent / "crds"

Object = dict[str, Any]

helm.disable_logging()  # > Helm logs every symbolic link


def values(shape: str) -> Object:
    """The values of one shape in ci/."""
    return yaml.safe_load((CHART / "ci" / f"{shape}-values.yaml").read_text())


def render(given: Object, chart: Path = CHART) -> list[Object]:
    """All objects of the release ``dia`` in ``prod``. Raises `helm.HelmError`."""
    with helm.Chart.load(chart) as loaded:
        loaded.validate_schema(given)
        files = loaded.render(given, name="dia", namespace="prod")
    return [
        document
        for name, text in files.items()
        if name.endswith(".yaml")
        for document in yaml.safe_load_all(text)
        if document
    ]


def kind(documents: list[Object], name: str) -> list[Object]:
    return [document for document in documents if document["kind"] == name]


def component(documents: list[Object], kind_name: str, name: str) -> Object:
    """The only object of that kind for that component."""
    (found,) = [one for one in kind(documents, kind_name) if one["metadata"]["name"] == name]
    return found


def check(document: Object) -> None:
    """Raises the errors of the validators."""
    crd = _CRDS / f"{document['kind']}.json"
    if crd.exists():
        jsonschema.validate(document, json.loads(crd.read_text()))
    else:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


def refused_kinds(given: Object, folder: Path, mistakes: Mapping[str, tuple[str, str]]) -> set[str]:
    """The kinds that validators refuse after each of the template's ``mistakes`` (right, wrong) is
    made.
    """
    planted = folder / "dia"
    shutil.copytree(CHART, planted)
    for name, (right, wrong) in mistakes.items():
        file = planted / "templates" / name
        assert right in file.read_text()
        file.write_text(file.read_text().replace(right, wrong))
    refused = set()
    for document in render(given, planted):
        try:
            check(document)
        except (kubernetes_validate.ValidationError, jsonschema.ValidationError):
            refused.add(document["kind"])
    return refused


def pods(documents: list[Object]) -> list[Object]:
    return [
        document["spec"]["template"]["spec"]
        for document in documents
        if document["kind"] in {"StatefulSet", "Job"}
    ]


def environment(pod: Object) -> dict[str, str]:
    (container,) = pod["containers"]
    return {one["name"]: one["value"] for one in container["env"]}
