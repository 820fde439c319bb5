"""After `dia up`, `dia worker` works without further commands."""

from __future__ import annotations

import json

import pytest

from streams.cli import main

pytestmark = pytest.mark.stack


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home without a stack, stopped afterwards; it must not use addresses of other stacks."""
    monkeypatch.setenv("DIA_HOME", str(tmp_path))
    monkeypatch.setenv("DIA_KAFKA_BOOTSTRAP", "127.0.0.1:9")
    monkeypatch.setenv("DIA_CLICKHOUSE_SHARDS", "http://127.0.0.1:9")
    yield tmp_path
    main(["down", "--quiet"])


def test_up_creates_topics_and_tables_once_and_bare_omits_them(home, monkeypatch, capsys):
    """New users run `dia worker` next: its topics and tables must exist."""
    assert main(["up", "--bare", "--shards", "1"]) == 0
    monkeypatch.delenv("DIA_KAFKA_BOOTSTRAP")
    monkeypatch.delenv("DIA_CLICKHOUSE_SHARDS")
    capsys.readouterr()
    assert main(["topics", "plan", "--json"]) == 0
    changes = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {change["change"] for change in changes} == {"create"}

    monkeypatch.setenv("DIA_KAFKA_BOOTSTRAP", "127.0.0.1:9")
    assert main(["up"]) == 0
    monkeypatch.delenv("DIA_KAFKA_BOOTSTRAP")
    assert "migrations on 1 shards" in capsys.readouterr().err
    assert main(["topics", "plan", "--json"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["query", "SELECT count() FROM ledger", "-o", "csv"]) == 0
    assert capsys.readouterr().out == "count()\n0\n"

    assert main(["up"]) == 0
    assert "topics and tables are as declared" in capsys.readouterr().err
