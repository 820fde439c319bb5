"""OpenAPI paths of shed orders."""

from __future__ import annotations

from typing import Any

from streams.engine.runtime.offsets.shed_order import REASON_MAX
from streams.http.openapi import (
    COUNT,
    MOMENT,
    NAME,
    POST_PROBLEMS,
    TEXT,
    array,
    get,
    maybe,
    obj,
    post,
)


def shedding() -> dict[str, Any]:
    counts = ("partition", "lag", "from_offset", "to_offset", "shed")
    part = obj({**dict.fromkeys(counts, COUNT), "oldest_ms": maybe(COUNT), "unreadable": TEXT})
    either = {
        "before": maybe(MOMENT),
        "unreadable": {
            "type": "boolean",
            "description": "In the place of before: what stops a partition because no worker can "
            "fold it.",
        },
    }
    asked = {"topic": NAME}
    numbers = array({"type": "integer", "minimum": 0})
    planned = obj(
        {
            "topic": TEXT,
            "before_ms": maybe(COUNT),
            "shed": COUNT,
            "partitions": array(part),
            "consequences": array(TEXT),
        }
    )
    standing = obj(
        {
            **dict.fromkeys(("order", "topic", "actor", "reason"), TEXT),
            **dict.fromkeys(("partition", "to_offset", "before_ms", "at_ms"), COUNT),
            "state": {"enum": ["waiting", "done", "withdrawn", "void"]},
            "reached": maybe(COUNT),
        }
    )
    listed = obj({"topics": array(TEXT), "sources": array(TEXT), "orders": array(standing)})
    ordered = obj({"order": TEXT, "partitions": array(part)})
    taken_back = obj({"topic": TEXT, "partitions": numbers, "withdrawn": COUNT})
    reason = {"type": "string", "minLength": 1, "maxLength": REASON_MAX}
    refused = (*POST_PROBLEMS, "409")
    return {
        "/api/shed/plan": {
            "post": post(
                *("plan_shedding", "What an order would skip; changes nothing."),
                {"200": planned},
                obj(asked, **either, partition=numbers),
            )
        },
        "/api/shed/orders": {
            "get": get("shed_orders", "The last order of each partition.", listed),
            "post": post(
                *("order_shedding", "Order that old or unreadable records are skipped."),
                {"202": ordered},
                obj({**asked, "reason": reason}, **either, partition=numbers),
                problems=refused,
            ),
        },
        "/api/shed/withdraw": {
            "post": post(
                *("withdraw_shedding", "Withdraw orders that no worker has carried out."),
                {"200": taken_back},
                obj({"topic": NAME}),
                problems=refused,
            )
        },
    }
