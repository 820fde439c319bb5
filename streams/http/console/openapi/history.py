"""OpenAPI paths of what the console remembers of the pipeline."""

from __future__ import annotations

from typing import Any, get_args

from streams.http.console.history.backlogs import Course
from streams.http.console.history.changes import Kind
from streams.http.console.history.history_handler import Range
from streams.http.openapi import (
    COUNT,
    FLAG,
    NAME,
    NUMBER,
    TEXT,
    array,
    get,
    maybe,
    obj,
    query,
    read,
)


def history() -> dict[str, Any]:
    ranges = query("range", {"enum": [*get_args(Range)]})
    return {
        "/api/history": {"get": _history(ranges)},
        "/api/tenants/top": {"get": _top(ranges)},
    }


def _history(ranges: dict[str, Any]) -> dict[str, Any]:
    backlog = obj(
        {
            **dict.fromkeys(("group", "topic"), NAME),
            "unread": maybe(COUNT),
            "behind_s": maybe(NUMBER),
            "at_least": FLAG,
            **dict.fromkeys(("arriving_per_s", "read_per_s"), maybe(NUMBER)),
            "course": {"enum": [*get_args(Course)]},
            "caught_up_ms": maybe(COUNT),
        }
    )
    change = obj(
        {
            "at_ms": COUNT,
            "kind": {"enum": [*get_args(Kind)]},
            **dict.fromkeys(("subject", "text"), TEXT),
            "bad": FLAG,
        }
    )
    seconds = dict.fromkeys(("behind_s", "read_per_s"), array(maybe(NUMBER)))
    courses = {"unread": array(maybe(COUNT)), **seconds}
    reader = obj({**dict.fromkeys(("group", "topic"), NAME), **courses})
    words = ("code", "severity", "subject", "detail", "next", "runbook")
    alert = obj({**dict.fromkeys(words, TEXT), "since_ms": COUNT})
    answer = {
        "as_of_ms": COUNT,
        "observed_since_ms": COUNT,
        "range_s": COUNT,
        "alerts": array(alert),
        "backlogs": array(backlog),
        "unread": obj({"t": array(COUNT), "readers": array(reader)}),
        "changes": array(change),
        "changes_left_out": COUNT,
        "orders_known": FLAG,
    }
    what = (
        "What is wrong, since when, with its runbook; who is behind and until when, unread records and rates of reading over time, and what changed, newest first. "
        "This console observes it while it runs, since observed_since_ms; replays and orders to "
        "skip records come from Kafka, unless orders_known is false."
    )
    return get("history", what, obj(answer), (ranges,))


def _top(ranges: dict[str, Any]) -> dict[str, Any]:
    sending = obj({"tenant": NAME, "events": COUNT, "series": COUNT})
    late = obj({"tenant": NAME, **dict.fromkeys(("minutes", "late", "latest_s"), COUNT)})
    failing = obj(
        {
            "tenant": TEXT,
            **dict.fromkeys(("dead_letters", "events", "first_ms", "last_ms"), COUNT),
            "code": TEXT,
        }
    )
    answer = read(
        {
            **dict.fromkeys(("range_s", "late_s", "tenants", "events", "dead_letters"), COUNT),
            "sending": array(sending),
            "failing": array(failing),
            "late": array(late),
        }
    )
    what = (
        "The tenants with the most events, by event time, with their number of series (about 1 % exact), and those with the most dead letters, by "
        "the append times of their records: first and last one of the range, and the commonest code. late: those with the most "
        "minutes of series that were last written more than late_s after their end."
    )
    return get("topTenants", what, answer, (ranges,))
