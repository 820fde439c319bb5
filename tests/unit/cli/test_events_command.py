"""`dia events example`."""

from __future__ import annotations

import json

import pytest

from streams.cli import main


@pytest.fixture(autouse=True)
def _home(monkeypatch, tmp_path):
    monkeypatch.setenv("DIA_HOME", str(tmp_path))


@pytest.mark.parametrize("name", ["model_metric", "model.metrics"])
def test_examples_are_json_lines_on_stdout(capsys, name):
    """`dia produce TOPIC --file -` reads them."""
    assert main(["events", "example", name, "-n", "3"]) == 0
    out, err = capsys.readouterr()
    assert [json.loads(line)["tenant_id"] for line in out.splitlines()] == ["acme"] * 3
    assert err == ""


def test_a_misspelt_family_gets_near_ones(capsys):
    """Users type names from memory."""
    assert main(["events", "example", "modelmetric"]) == 2
    assert "Did you mean model_metric" in capsys.readouterr().err
