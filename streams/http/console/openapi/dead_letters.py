"""OpenAPI paths of dead letters and replays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streams.http.console.openapi.problems import READ, WRITE
from streams.http.openapi import (
    COUNT,
    FLAG,
    MOMENT,
    NAME,
    TEXT,
    array,
    get,
    maybe,
    obj,
    post,
    query,
)

FIELDS = ["error", "path", "tenant", "agent", "age", "topic", "stage", "disposition"]
FILTERS = (
    query("error", array(NAME)),
    query("path", array(NAME)),
    query("agent", array(NAME)),
    query("tenant", array(NAME)),
    query("since", MOMENT),
    query("until", MOMENT),
    query("partition", array(COUNT)),
)
PLAN = {"name": "plan", "in": "path", "required": True, "schema": NAME}
_COUNTS = dict.fromkeys(("letters", "replayed", "parked", "left", "to_go"), COUNT)
PROGRESS = obj(
    {
        **dict.fromkeys(("plan", "topic", "state", "by"), TEXT),
        **_COUNTS,
        **dict.fromkeys(("began_ms", "last_ms"), COUNT),
        "by_agent": FLAG,
        "reasons": array(TEXT),
        "partitions": array(obj({"partition": COUNT, "state": TEXT, **_COUNTS})),
    }
)


def letters(topics: Sequence[str]) -> dict[str, Any]:
    """``topics``: those with dead letters."""
    topic = {"enum": [*topics]}
    return {
        "/api/dlq/groups": {"get": _groups(topic)},
        "/api/dlq/letters": {"get": _listed(topic)},
        "/api/dlq/letter": {"get": _one()},
        **_plans(topic),
    }


def _groups(topic: dict[str, Any]) -> dict[str, Any]:
    at_ms = {"type": "integer"}
    times = {"oldest_ms": at_ms, "newest_ms": at_ms}
    course = {"hours": array(COUNT), "tenants": COUNT, "tenants_more": FLAG, "sample": TEXT}
    group = obj({"names": array(TEXT), "letters": COUNT, **times, **course})
    answer = obj(
        {
            "as_of_ms": COUNT,
            "by": array(TEXT),
            "scanned": COUNT,
            "complete": FLAG,
            "groups": array(group),
        }
    )
    by = query("by", array({"enum": FIELDS}))
    asked = (query("topic", topic), *FILTERS, by)
    return get("groups", "Dead letters by what they have in common.", answer, asked, READ)


def _listed(topic: dict[str, Any]) -> dict[str, Any]:
    names = ("id", "place", "error_code", "error_message", "stage", "agent", "tenant")
    line = obj(
        {
            **dict.fromkeys((*names, "disposition"), TEXT),
            **dict.fromkeys(("hops", "bytes"), COUNT),
            "failed_ms": {"type": "integer"},
        }
    )
    given = (
        query("topic", topic),
        *FILTERS,
        query("limit", {"type": "integer", "minimum": 1, "maximum": 500}),
        query("after", {"type": "string", "description": "`next` of the answer before."}),
    )
    counted = dict.fromkeys(("total", "first"), maybe(COUNT))
    answer = obj({"as_of_ms": COUNT, "letters": array(line), "next": maybe(TEXT), **counted})
    what = (
        "Dead letters, newest first; of a queue too long to sort, in its order and without total."
    )
    return get("letters", what, answer, given, READ)


def _one() -> dict[str, Any]:
    row = obj({"at": COUNT, "hex": TEXT, "text": TEXT})
    answer = obj({"id": TEXT, "hex": array(row), "hex_complete": FLAG, "text": maybe(TEXT)})
    given = (query("id", NAME), query("place", NAME))
    summary = "One dead letter: headers, value, why it failed, would it pass now."
    return get("letter", summary, answer, given, READ)


def _plans(topic: dict[str, Any]) -> dict[str, Any]:
    plans = "/api/dlq/plans"
    why = obj({}, reason=TEXT)
    told = {
        f"{plans}/{{plan}}/{word}": {
            "post": post(word, f"To {word} a plan.", {"200": PROGRESS}, why, (PLAN,), WRITE)
        }
        for word in ("pause", "resume")
    }
    cancel = post("cancel_plan", "To end a plan for good.", {"200": PROGRESS}, why, (PLAN,), WRITE)
    submit = post("submit", "Hand a plan to the agent.", {"202": PROGRESS}, None, (PLAN,), WRITE)
    listed = obj({"plans": array(PROGRESS)})
    return {
        plans: {"get": get("plans", "Every plan.", listed, (), READ), "post": _make(topic)},
        "/api/dlq/decisions": {"post": _decide(topic)},
        f"{plans}/{{plan}}": {"get": get("plan", "How far a plan is.", PROGRESS, (PLAN,), READ)},
        f"{plans}/{{plan}}/submit": {"post": submit},
        **told,
        f"{plans}/{{plan}}/cancel": {"post": cancel},
    }


def _chosen(topic: dict[str, Any]) -> dict[str, Any]:
    return {
        "topic": topic,
        **dict.fromkeys(("error", "path", "agent"), array(TEXT)),
        "tenant": array(NAME),
        "since": maybe(TEXT),
        "until": maybe(TEXT),
        "partition": array(COUNT),
        "letters": array(TEXT),
    }


def _decide(topic: dict[str, Any]) -> dict[str, Any]:
    decision = {"enum": ["park", "discard"]}
    asked = obj({"decision": decision, "reason": TEXT, "expected": COUNT}, **_chosen(topic))
    counts = dict.fromkeys(("letters", "decided", "unchanged"), COUNT)
    answer = obj({"decision": decision, "topic": TEXT, "reason": TEXT, **counts})
    summary = (
        "Set dead letters aside for manual review, or decide that they are never replayed. More than "
        "expected are refused."
    )
    return post("decide", summary, {"200": answer}, asked, (), WRITE)


def _make(topic: dict[str, Any]) -> dict[str, Any]:
    asked = obj(
        {},
        **_chosen(topic),
        limit=maybe({"type": "integer"}),
        on_failure={"enum": ["stop", "skip", "park"]},
        max_hops={"type": "integer"},
        patch=array({"type": "object"}),
        target=maybe(topic),
    )
    answer = obj(
        {
            "plan": maybe(TEXT),
            "topic": TEXT,
            **dict.fromkeys(("scanned", "letters", "kept_until_ms"), COUNT),
            "behind": {"type": "object"},
            "errors": array({"type": "object"}),
            "reasons": array(TEXT),
            "differences": array(TEXT),
        }
    )
    summary = "What a replay would do. Nothing is changed; the plan is kept for an hour."
    return post("make_plan", summary, {"201": answer}, asked, (), WRITE)
