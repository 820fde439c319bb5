"""`dia query series` says what its answer has not."""

from __future__ import annotations

from streams.cli import main
from streams.connect.sinks.window_views import read as reading
from streams.connect.sinks.window_views.view import WindowPoints
from streams.core.settings import Settings
from streams.engine.app import window_views
from tests.unit.engine.app.test_window_views import shop


def test_figures_that_a_longer_step_has_not_are_named(monkeypatch, capsys):
    """A column that was asked for and is missing looks like a mistake of the command."""
    views = window_views.window_views(shop(), Settings())
    monkeypatch.setattr(window_views, "window_views", lambda app, settings: views)
    points = WindowPoints({"t": [0], "closed": [True], "n": [3]})
    monkeypatch.setattr(reading, "read", lambda settings, reading, warn: points)
    monkeypatch.setenv("DIA_CLICKHOUSE_SHARDS", "http://127.0.0.1:1")
    asked = ["query", "series", "--windows", "sales", "--tenant", "a", "--key", "account=b"]
    assert main([*asked, "--figure", "n", "--figure", "q_50", "--step", "30s", "--json"]) == 0
    said = capsys.readouterr()
    assert said.out.count("\n") == 1
    assert "left out: q_50" in said.err
    assert main([*asked, "--figure", "n", "--step", "30s", "--json"]) == 0
    assert "left out" not in capsys.readouterr().err
