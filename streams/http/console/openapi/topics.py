"""OpenAPI paths of topics and messages."""

from __future__ import annotations

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

_INTEGER: dict[str, Any] = {"type": "integer"}
_BOUND = {"type": "string", "description": "An offset of at most 9 digits, -2h, or ISO 8601 (UTC)."}
_WHERE = {
    "type": "string",
    "description": 'A condition on fields: amount > 10 and account == "ada"; ~ means contains.',
}
FILTERS = (
    query("topic", NAME, required=True),
    query("tenant", NAME),
    query("key", {**NAME, "description": "UTF-8, or hexadecimal behind 0x."}),
    query("partition", COUNT),
    query("from", _BOUND),
    query("to", _BOUND),
    query("where", _WHERE),
    query("code", {**NAME, "description": "The error code of a dead letter."}),
    query("contains", {"type": "string", "description": "In the key, the value or a header."}),
)
_LINE: dict[str, Any] = {
    **dict.fromkeys(("place", "tenant", "code", "refusal", "preview"), TEXT),
    **dict.fromkeys(("partition", "offset", "bytes"), COUNT),
    "at_ms": _INTEGER,
    "key": maybe(TEXT),
    "cut": FLAG,
}


def topics_and_messages() -> dict[str, Any]:
    name = {"name": "topic", "in": "path", "required": True, "schema": NAME}
    what = "One topic: settings, partitions, groups. For tokens of every tenant."
    return {
        "/api/topics": {"get": _topics()},
        "/api/topics/{topic}": {"get": get("topic", what, _described(), (name,), READ)},
        "/api/messages": {"get": _messages()},
        "/api/message": {"get": _message()},
        "/api/message/again": {"post": _again()},
        "/api/trace": {"get": _trace()},
    }


def _topics() -> dict[str, Any]:
    one = obj(
        {
            **dict.fromkeys(("name", "kind"), TEXT),
            "partitions": COUNT,
            "offsets": maybe(COUNT),
            "retention_ms": maybe(_INTEGER),
            "replication": _INTEGER,
            "groups": array(TEXT),
        }
    )
    what = (
        "The topics. A token of one tenant gets those whose records name their tenant, without "
        "figures of every tenant."
    )
    return get("topics", what, obj({"topics": array(one)}), (), READ)


def _described() -> dict[str, Any]:
    setting = obj(dict.fromkeys(("setting", "value", "declared"), TEXT))
    lag = obj({"group": TEXT, "committed": maybe(COUNT), "lag": COUNT})
    partition = obj(
        {
            **dict.fromkeys(("partition", "begin", "stable_end", "end"), COUNT),
            "leader": _INTEGER,
            **dict.fromkeys(("replicas", "in_sync"), array(_INTEGER)),
            "groups": array(lag),
        }
    )
    return obj({"topic": TEXT, "settings": array(setting), "partitions": array(partition)})


def _messages() -> dict[str, Any]:
    searched = obj(
        {
            **dict.fromkeys(("partition", "from", "to", "log_begin", "log_end"), COUNT),
            "unreadable": array(array(COUNT)),
        }
    )
    answer = obj(
        {
            "as_of_ms": COUNT,
            "messages": array(obj(_LINE)),
            "late": FLAG,
            "more": FLAG,
            "searched": array(searched),
        }
    )
    limit = query("limit", {"type": "integer", "minimum": 1, "maximum": 500})
    what = "The newest messages of a topic, newest first; late: older ones were not read."
    return get("messages", what, answer, (*FILTERS, limit), READ)


def _message() -> dict[str, Any]:
    row = obj({"at": COUNT, "hex": TEXT, "text": TEXT})
    answer = obj(
        {
            **_LINE,
            "topic": TEXT,
            "headers": array(obj({"name": TEXT, "value": maybe(TEXT)}, value_base64=TEXT)),
            "text": maybe(TEXT),
            "json": {},
            "hex": array(row),
            "hex_complete": FLAG,
            "again": obj({"allowed": FLAG, "text": TEXT}),
        }
    )
    place = {**NAME, "maxLength": 300, "description": "topic/partition/offset"}
    what = "One message: headers, value decoded and as bytes, and what sending it again does."
    return get("message", what, answer, (query("place", place, required=True),), READ)


def _again() -> dict[str, Any]:
    reason = {"type": "string", "minLength": 1, "maxLength": 300}
    told = obj({"topic": TEXT, "partition": COUNT, "text": TEXT})
    what = "Append a copy of a message of a source topic: key, value and headers of the event."
    body = obj({"place": TEXT, "reason": reason})
    return post("send_message_again", what, {"202": told}, body, (), WRITE)


def _trace() -> dict[str, Any]:
    step = obj({"at_ms": maybe(_INTEGER), "what": TEXT, "text": TEXT})
    record = obj(
        {
            **dict.fromkeys(("place", "tenant", "group", "verdict", "code"), TEXT),
            "append_ms": _INTEGER,
            "found_by": array(TEXT),
            "doubts": array(TEXT),
            "timeline": array(step),
        }
    )
    searched = obj(
        {
            "topic": TEXT,
            **dict.fromkeys(
                ("partition", "log_begin", "log_end", "from", "to", "wanted_to"), COUNT
            ),
            "unreadable": array(array(COUNT)),
            "trimmed": FLAG,
        }
    )
    anything: dict[str, Any] = array({"type": "object"})
    answer = obj(
        {
            "as_of_ms": COUNT,
            **dict.fromkeys(("asked", "outcome"), TEXT),
            **dict.fromkeys(("kinds", "notes"), array(TEXT)),
            "records": array(record),
            **dict.fromkeys(("dead_letters", "plans"), anything),
            "searched": array(searched),
            **dict.fromkeys(("whole", "more", "late"), FLAG),
            "seconds": {"type": "number"},
        }
    )
    text = {"type": "string", "minLength": 1, "maxLength": 1024}
    given = (
        query("id", text, required=True),
        query("topic", array(NAME)),
        query("tenant", NAME),
        query("key", NAME),
        *(query(name, MOMENT) for name in ("around", "since", "until")),
        query("limit", {"type": "integer", "minimum": 1, "maximum": 200}),
    )
    what = "What became of an event, by its id, place, dead letter, plan, run or request."
    return get("trace", what, answer, given, READ)
