"""Dashboards equal their board definitions, and show every declared metric."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest

from streams.core.telemetry.metrics import Metrics

FOLDER = Path(__file__).parents[3] / "ops" / "grafana"
SEE = re.compile(r"\bDia[A-Z]\w+")

_spec = importlib.util.spec_from_file_location("dia_grafana_render", FOLDER / "render.py")
render = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(render)

BOARDS = list(render.boards())
OF_PROMETHEUS = [board for board in BOARDS if board["source"] == "prometheus"]


def _panels(board):
    model = render.render(board)
    return [panel for panel in model["panels"] if panel["type"] != "row"]


def _expressions(board):
    return [target["expr"] for panel in _panels(board) for target in panel["targets"]]


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board["uid"])
def test_committed_dashboards_are_rendered_from_their_boards(board):
    """Grafana loads the file that reviewers read; otherwise run python ops/grafana/render.py."""
    committed = (FOLDER / "dashboards" / f"{board['uid']}.json").read_text()
    assert committed == render.text_of(board)


def test_every_dashboard_has_a_board():
    """Grafana would still provision a file without a board."""
    assert {path.stem for path in (FOLDER / "dashboards").iterdir()} == {
        board["uid"] for board in BOARDS
    }


@pytest.mark.parametrize("board", OF_PROMETHEUS, ids=lambda board: board["uid"])
def test_expressions_parse_and_read_metrics_that_exist(board, known, missing):
    """An empty panel looks like a quiet system."""
    for expression in _expressions(board):
        assert missing(expression, known) == set(), expression


def test_every_declared_metric_is_shown_or_alerted_on(rules, metrics_of):
    """Show each metric in ops/grafana/boards or use it in an alert; otherwise it only costs."""
    expressions = [e for board in OF_PROMETHEUS for e in _expressions(board)]
    expressions += [rule["expr"] for rule in rules]
    read = {name for expression in expressions for name in metrics_of(expression)}
    declared = {family.name for family in Metrics().registry.collect()}
    unseen = {name for name in declared if not any(shown.startswith(name) for shown in read)}
    assert {name for name in unseen if name.startswith("dia_")} == set()


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board["uid"])
def test_panels_say_what_is_bad_and_do_not_overlap(board, rules):
    """Each panel states which values are bad."""
    alerts = {rule["alert"] for rule in rules if "alert" in rule}
    taken = set()
    for panel in _panels(board):
        assert panel["description"].endswith(".")
        assert set(SEE.findall(panel["description"])) <= alerts
        assert panel["fieldConfig"]["defaults"]["unit"]
        place = panel["gridPos"]
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not cells & taken
        assert place["x"] + place["w"] <= render.COLUMNS
        taken |= cells


def test_variables_are_declared_before_they_are_used():
    """Grafana shows an unknown variable as text, and the query finds no series."""
    for board in BOARDS:
        declared = {"datasource", *board.get("variables", {})}
        text = json.dumps(render.render(board))
        used = set(re.findall(r"\$\{(\w+)", text)) | set(re.findall(r"\$([a-z]\w*)", text))
        assert used <= declared, board["uid"]


def test_a_board_of_one_tenant_offers_no_other():
    """A customer's page must not list the names of the others."""
    (figures,) = [board for board in BOARDS if board["uid"] == "dia-business"]
    tenant = 'o\'brien "${x}"'
    model, whole = render.for_tenant(figures, tenant), render.render(figures)
    variables = {one["name"]: one for one in model["templating"]["list"]}
    assert variables["tenant"]["type"] == "constant"
    assert variables["tenant"]["query"] == tenant
    assert len(model["uid"]) <= 40
    assert model["uid"] != render.for_tenant(figures, "another")["uid"]
    assert 0 < len(model["panels"]) < len(whole["panels"])
    for panel in model["panels"]:
        for target in panel.get("targets", []):
            assert "tenant = ${tenant:singlequote}" in target["rawSql"]
    listed = [v["query"] for v in model["templating"]["list"] if v["type"] == "query"]
    assert all("tenant = ${tenant:singlequote}" in query for query in listed)
