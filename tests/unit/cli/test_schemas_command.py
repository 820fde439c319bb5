"""`dia schemas`: its output, and its exit codes for scripts."""

from __future__ import annotations

import json

import pytest

import streams.connect.schema_registry.documents
from agents.app import app
from streams.cli import main
from streams.connect.schema_registry.compatibility import SchemaDifference
from streams.connect.schema_registry.documents import VersionFinding


@pytest.fixture(autouse=True)
def _home(monkeypatch, tmp_path):
    monkeypatch.setenv("DIA_HOME", str(tmp_path))


def test_list_names_every_version(capsys):
    """Producers need this list first."""
    assert main(["schemas", "list", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["family"], row["version"]) for row in rows] == [
        (topic.schema, version) for topic in app.topics.values() for version in topic.versions
    ]
    assert rows[0]["topic"] == "model.metrics"


@pytest.mark.parametrize("name", ["model_metric", "model.metrics"])
def test_show_prints_the_json_schema(capsys, name):
    """A validator can read the output."""
    assert main(["schemas", "show", name]) == 0
    assert json.loads(capsys.readouterr().out)["$id"] == "urn:dia:schema:model_metric:1"


@pytest.mark.parametrize("wrong", [["nothing"], ["model_metric", "--version", "9"]])
def test_show_lists_the_existing_names(capsys, wrong):
    """An unknown name is a usage error that lists the valid ones."""
    assert main(["schemas", "show", *wrong]) == 2
    assert "model_metric" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("state", "code", "said"),
    [
        ("same", 0, ""),
        ("changed", 1, "--publish"),
        ("new", 1, "--publish"),
        ("broken", 5, "upcaster"),
    ],
)
def test_check_ends_with_a_code_per_state(monkeypatch, capsys, state, code, said):
    """CI runs this command; each state has its own exit code."""
    differences = [SchemaDifference("$.ts", "is now required")] if state == "broken" else []
    monkeypatch.setattr(
        streams.connect.schema_registry.documents,
        "review",
        lambda *args: [VersionFinding("x.v1", state, differences)],
    )
    assert main(["schemas", "check"]) == code
    assert said in capsys.readouterr().err


def test_publish_writes_only_compatible_schemas(monkeypatch, capsys):
    """A breaking change must not overwrite the published schema."""
    written = []
    monkeypatch.setattr(
        streams.connect.schema_registry.documents, "publish", lambda *args: written.append(True)
    )
    for state, code in [("broken", 5), ("changed", 0)]:
        found = [VersionFinding("x.v1", state, [])]
        monkeypatch.setattr(
            streams.connect.schema_registry.documents, "review", lambda *args, found=found: found
        )
        assert main(["schemas", "check", "--publish"]) == code
        assert written == ([] if state == "broken" else [True])
    capsys.readouterr()
