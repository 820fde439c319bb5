"""OpenAPI paths of series."""

from __future__ import annotations

from typing import Any

from streams.http.openapi import (
    COUNT,
    MOMENT,
    NAME,
    NUMBER,
    TENANT,
    TEXT,
    array,
    get,
    maybe,
    obj,
    query,
    read,
)

NUMBERS = array(NUMBER)
TABLE = {"enum": ["m1", "h1", "d1"]}
STEP = {"type": "string", "examples": ["1m", "1h"]}
STATISTICS = obj(
    {
        "t": array(COUNT),
        **dict.fromkeys(
            ("count", "mean", "sd", "min", "max", "last", "p50", "p95", "p99"), NUMBERS
        ),
    }
)
FORMAT = query("format", {"enum": ["json", "csv"]})
CSV = {"text/csv; charset=utf-8": {"schema": TEXT}}


def series() -> dict[str, Any]:
    answer = read(
        {
            **dict.fromkeys(("tenant", "model", "metric"), NAME),
            "table": TABLE,
            **dict.fromkeys(("step_s", "from_s", "to_s"), COUNT),
            "columns": STATISTICS,
        }
    )
    given = (
        TENANT,
        query("model", NAME, required=True),
        query("metric", NAME, required=True),
        query("from", MOMENT),
        query("to", MOMENT),
        query("step", STEP),
        FORMAT,
    )
    summary = (
        "Statistics of one series per step, as `dia query series` gives them. Percentiles are within "
        "1 % of the exact value, and exact for up to four values."
    )
    return {
        "/api/series": {"get": get("series", summary, answer, given, media=CSV)},
        "/api/range": {"get": _range()},
    }


def _range() -> dict[str, Any]:
    heatmap = obj({"edges": NUMBERS, "t": array(COUNT), "counts": array(array(COUNT))})
    one = obj({"model": NAME, "metric": NAME, "columns": STATISTICS, "heatmap": maybe(heatmap)})
    answer = read(
        {
            "tenant": NAME,
            "metrics": array(NAME),
            "table": TABLE,
            **dict.fromkeys(("step_s", "from_s", "to_s"), COUNT),
            "series": array(one),
        }
    )
    names = {**array(NAME), "minItems": 1, "maxItems": 8}
    given = (
        TENANT,
        query("model", names, required=True),
        query("metric", names, required=True),
        query("from", MOMENT),
        query("to", MOMENT),
        query("table", TABLE),
        query("step", STEP),
        query("buckets", {"type": "integer", "minimum": 0, "maximum": 64}),
        FORMAT,
    )
    summary = "Windows of at most 8 series (models times metrics) side by side, and how their values are spread."
    return get("range", summary, answer, given, media=CSV)
