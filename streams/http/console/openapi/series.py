"""OpenAPI paths of series."""

from __future__ import annotations

from typing import Any

from streams.http.openapi import (
    COUNT,
    FLAG,
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
TABLE = {"type": "string", "examples": ["m1", "h1", "d1"]}
STEP = {"type": "string", "examples": ["10s", "1m", "1h"]}
FORMAT = query("format", {"enum": ["json", "csv"]})
CSV = {"text/csv; charset=utf-8": {"schema": TEXT}}
FIGURES = {
    **obj({"t": NUMBERS}),
    "additionalProperties": array({}),
    "description": "t: starts in epoch seconds; a list for each figure, null where it is unknown; of windows "
    "with aggregators closed, too: whether no record can change the point.",
}
WINDOWS = {
    **query("windows", NAME),
    "description": "Name of an app.windows; default the first of the app. Its dimensions are parameters "
    "of their own names (GET /api/windows), as model and metric are of m1.",
}
NAMES = {**array(NAME), "minItems": 1, "maxItems": 8}
_OF_M1 = (query("model", NAMES), query("metric", NAMES))
_SPAN = (query("from", MOMENT), query("to", MOMENT))
_SHOWN = (query("step", STEP), query("figure", array(NAME)), FORMAT)
_TOLD = {
    "windows": NAME,
    "table": TABLE,
    "step_s": NUMBER,
    "behind_s": {
        **NUMBER,
        "description": "Above 0: every replica of a shard is behind, and rows of so many seconds may be missing.",
    },
    **dict.fromkeys(("from_s", "to_s"), COUNT),
}


def series() -> dict[str, Any]:
    summary = (
        "Figures of one key per step, as `dia query series` gives them. Percentiles of m1 are within 1 % of "
        "the exact value, and exact for up to four values. left_out: figures that such long steps have not."
    )
    answer = read({**_TOLD, "left_out": array(NAME), "columns": FIGURES})
    given = (WINDOWS, TENANT, *_OF_M1, *_SPAN, *_SHOWN)
    return {
        "/api/windows": {"get": _windows()},
        "/api/names": {"get": _names()},
        "/api/series": {"get": get("series", summary, answer, given, media=CSV)},
        "/api/range": {"get": _range()},
        "/api/ranking": {"get": _ranking()},
    }


def _windows() -> dict[str, Any]:
    """Not kept: it follows from the app alone."""
    chart = obj(
        {
            **dict.fromkeys(("name", "title", "note"), TEXT),
            "form": {"enum": ["lines", "bars", "band"]},
            "figures": array(NAME),
        }
    )
    one = obj(
        {
            "name": NAME,
            "description": TEXT,
            **dict.fromkeys(("tenant", "disjoint", "heatmap", "ranked"), FLAG),
            "dimensions": array(obj({"name": NAME, "column": NAME, "kind": TEXT})),
            "tables": array(obj({"name": NAME, "width_s": NUMBER})),
            "figures": array(obj({"name": NAME, "type": TEXT, "merges": FLAG})),
            "charts": array(chart),
        }
    )
    summary = (
        "The windows that this token may see: a token of one tenant none whose key has no tenant."
    )
    return get("windows", summary, obj({"windows": array(one)}))


def _names() -> dict[str, Any]:
    given = (WINDOWS, TENANT, query("of", NAME, required=True), *_OF_M1)
    summary = "Values of a dimension, beside chosen values of others."
    return get("names", summary, read({"names": array({})}), given)


def _range() -> dict[str, Any]:
    heatmap = obj({"edges": NUMBERS, "t": array(COUNT), "counts": array(array(COUNT))})
    one = obj({"columns": FIGURES, "heatmap": maybe(heatmap)})
    answer = read(
        {
            **_TOLD,
            **dict.fromkeys(("figures", "left_out"), array(NAME)),
            "series": array({**one, "additionalProperties": {}}),
        }
    )
    buckets = query("buckets", {"type": "integer", "minimum": 0, "maximum": 64})
    given = (WINDOWS, TENANT, *_OF_M1, *_SPAN, query("table", TABLE), *_SHOWN, buckets)
    summary = (
        "Windows of at most 8 keys side by side, each with the values of its dimensions; of m1 how their values "
        "are spread, too. left_out: figures that such long steps have not."
    )
    return get("range", summary, answer, given, media=CSV)


def _ranking() -> dict[str, Any]:
    told = {name: _TOLD[name] for name in ("windows", "table", "behind_s", "from_s", "to_s")}
    order = {"enum": ["highest", "lowest"]}
    answer = read(
        {
            **told,
            **dict.fromkeys(("of", "by"), NAME),
            "order": order,
            "number": {**COUNT, "description": "Of all values of the dimension with an event."},
            "ranked": array({"type": "object"}),
        }
    )
    given = (
        *(WINDOWS, TENANT, query("of", NAME), query("model", NAME), query("metric", NAME)),
        *(*_SPAN, query("table", TABLE), query("by", NAME), query("order", order)),
    )
    summary = (
        "The first 50 values of the dimension of (default the first one) by a figure over the whole range, beside one "
        "value of each other dimension. The figures are those of `dia query series` with one step for the range."
    )
    return get("ranking", summary, answer, given)
