"""Writes dashboards/*.json, Grafana's form, from boards/*.yaml, ours: ``python ops/grafana/render.py``.
``--tenant NAME`` prints the board of figures for that tenant alone.

A board is a title, its data source, variables, and rows of panels. A panel says its unit, what a bad
reading means, and either ``queries`` (legend: expression), ``quantiles`` of a histogram (and ``by``
which label), or ``sql``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent
COLUMNS = 24
PANEL_HEIGHT = 8
PANELS_PER_ROW = 3
SEVERAL = {"topic", "model"}
"""Variables of which more than one value may be chosen."""
OF_TENANT = "tenant = ${tenant:singlequote}"
"""Condition of a panel that shows one tenant."""
SQL_FORMATS = {"timeseries": (0, "timeseries"), "table": (1, "table"), "heatmap": (2, "timeseries")}
"""Panel type: number of the result's format and type of the query, in the ClickHouse plugin."""

Json = dict[str, Any]


def boards() -> Iterator[Json]:
    """Every board as written, by name."""
    for path in sorted((FOLDER / "boards").glob("*.yaml")):
        yield yaml.safe_load(path.read_text())


def render(board: Mapping[str, Any]) -> Json:
    """Grafana's model of one board."""
    source = {"type": board["source"], "uid": "${datasource}"}
    return {
        "uid": board["uid"],
        "title": board["title"],
        "tags": ["dia"],
        "schemaVersion": 39,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "utc",
        "templating": {"list": list(_variables(board.get("variables", {}), source))},
        "panels": list(_panels(board["rows"], source)),
    }


def for_tenant(board: Mapping[str, Any], tenant: str) -> Json:
    """Grafana's model of one board whose tenant cannot be chosen, without panels of the pipeline. It hides other tenants; to keep them
    apart is the part of the user of the data source."""
    kept = [
        {**row, "panels": [panel for panel in row["panels"] if OF_TENANT in panel["sql"]]}
        for row in board["rows"]
    ]
    model = render({**board, "rows": [row for row in kept if row["panels"]]})
    for variable in model["templating"]["list"]:
        if variable["name"] == "tenant":
            del variable["datasource"], variable["refresh"]
            variable |= {"type": "constant", "query": tenant, "hide": 2}
    name = hashlib.sha256(tenant.encode()).hexdigest()[:16]
    return {**model, "uid": f"{board['uid']}-{name}", "title": f"{board['title']}: {tenant}"}


def text_of(board: Mapping[str, Any]) -> str:
    """Content of the committed file."""
    return json.dumps(render(board), indent=1, ensure_ascii=False) + "\n"


def _variables(declared: Mapping[str, str], source: Json) -> Iterator[Json]:
    yield {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": source["type"],
    }
    for name, query in declared.items():
        variable = {"name": name, "label": name, "query": query, "type": _kind(name)}
        if variable["type"] == "query":
            variable |= {"datasource": source, "refresh": 2}
        if name in SEVERAL:
            variable |= {"multi": True, "includeAll": True}
            # "All" as one pattern is Prometheus's; in SQL it is the list of every value.
            variable |= {"allValue": ".*"} if source["type"] == "prometheus" else {}
        yield variable


def _kind(name: str) -> str:
    return {"database": "constant", "table": "custom"}.get(name, "query")


def _panels(rows: list[Json], source: Json) -> Iterator[Json]:
    number, top = 0, 0
    for row in rows:
        number += 1
        place = {"x": 0, "y": top, "w": COLUMNS, "h": 1}
        yield {"id": number, "type": "row", "title": row["title"], "gridPos": place, "panels": []}
        top, left = top + 1, 0
        for panel in row["panels"]:
            number += 1
            width = COLUMNS // panel.get("per_row", PANELS_PER_ROW)
            if left + width > COLUMNS:
                top, left = top + PANEL_HEIGHT, 0
            place = {"x": left, "y": top, "w": width, "h": PANEL_HEIGHT}
            yield {"id": number, "gridPos": place, **_panel(panel, source)}
            left += width
        top += PANEL_HEIGHT


def _panel(panel: Json, source: Json) -> Json:
    kind = panel.get("kind", "timeseries")
    targets = _sql_targets(panel, kind) if "sql" in panel else _prometheus_targets(panel)
    model = {
        "type": kind,
        "title": panel["title"],
        "description": panel["bad"],
        "datasource": source,
        "fieldConfig": {"defaults": {"unit": panel["unit"]}, "overrides": []},
        "targets": [
            {"refId": letter, "datasource": source, **target}
            for letter, target in zip("ABCDEF", targets, strict=False)
        ],
    }
    # A step below the width of a window would show gaps between minutes.
    return {**model, "interval": "1m"} if "sql" in panel else model


def _sql_targets(panel: Json, kind: str) -> list[Json]:
    number, query_type = SQL_FORMATS[kind]
    return [
        {"editorType": "sql", "format": number, "queryType": query_type, "rawSql": panel["sql"]}
    ]


def _prometheus_targets(panel: Json) -> list[Json]:
    queries = panel["queries"] if "queries" in panel else dict(_quantiles(panel))
    return [{"legendFormat": legend, "expr": text} for legend, text in queries.items()]


def _quantiles(panel: Json) -> Iterator[tuple[str, str]]:
    label = panel.get("by")
    by = f"le, {label}" if label else "le"
    shown = f"{{{{{label}}}}} " if label else ""
    buckets = f"sum by ({by}) (rate({panel['quantiles']}_bucket[$__rate_interval]))"
    for percent in (50, 95, 99):
        yield f"{shown}p{percent}", f"histogram_quantile(0.{percent}, {buckets})"


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the dashboards of Grafana.")
    parser.add_argument("--tenant", help="print the board of figures for this tenant alone")
    tenant = parser.parse_args().tenant
    if tenant is None:
        for one in boards():
            (FOLDER / "dashboards" / f"{one['uid']}.json").write_text(text_of(one))
        return
    (figures,) = [one for one in boards() if one["uid"] == "dia-business"]
    json.dump(for_tenant(figures, tenant), sys.stdout, indent=1, ensure_ascii=False)
    print()


if __name__ == "__main__":
    main()
