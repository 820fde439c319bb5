"""A small `dia demo`: the first command of a new user must end with "exact"."""

from __future__ import annotations

import json

import pytest

from streams.cli import main
from streams.dev.local.stack import status

QUICK = {
    "COMMIT_INTERVAL_S": "0.2", "IDLE_CLOSE_S": "1", "LATE_HOLD_S": "0.5",
    "ROLLUP_INTERVAL_S": "1", "KERNELS": "off",
}  # fmt: skip
"""Windows close soon after the last event: the test waits for all of them."""


@pytest.mark.stack
def test_a_small_demo_is_exact_and_leaves_no_process(monkeypatch, tmp_path, capsys):
    """It uses every part on real services: produce, aggregate, dead-letter, insert, audit."""
    for variable in ("DIA_KAFKA_BOOTSTRAP", "DIA_CLICKHOUSE_SHARDS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("DIA_HOME", str(tmp_path))
    for name, value in QUICK.items():
        monkeypatch.setenv(f"DIA_{name}", value)
    assert main(["demo", "--events", "20000", "--shards", "2", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["ok"] is True
    assert shown["differences"] == []
    assert {check["name"]: check["found"] for check in shown["checks"]}["events read"] == 20_000
    assert shown["settled_s"] is not None
    assert not status(tmp_path / "demo").running
