"""Example events: valid for the pipeline, of any type that an app declares."""

from __future__ import annotations

import asyncio
import datetime as dt
import enum
import json
import uuid
from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta, Struct

from agents.app import app as built_in
from streams import App, Record
from streams.core.errors import UsageError
from streams.engine.decode.codecs import Limits, outgoing
from streams.operate.produce.example_event import example_lines

NOW_MS = 1_795_000_000_000
LIMITS = Limits(300, 604_800)


def examples(topic, count=1, version=None):
    return asyncio.run(example_lines(topic, version or topic.latest, count, NOW_MS, LIMITS))


class Colour(enum.Enum):
    RED = "red"


class Leaf(Struct):
    name: str
    below: list[Leaf]
    next: Leaf | None = None


class Odd(Record):
    id: str
    account: Annotated[str, Meta(min_length=12, max_length=14)]
    small: Annotated[int, Meta(gt=5, lt=8)]
    even: Annotated[int, Meta(ge=3, multiple_of=2)]
    share: Annotated[float, Meta(gt=0.9, le=1.0)]
    code: Annotated[str, Meta(pattern="^[A-Z]{3}$", examples=["EUR"])]
    kind: Literal["sale", "refund"]
    colour: Colour
    at: dt.datetime
    day: dt.date
    span: dt.timedelta
    key: uuid.UUID
    raw: bytes
    pair: tuple[int, str]
    tags: Annotated[list[str], Meta(min_length=2)]
    figures: dict[str, float]
    tree: Leaf
    anything: Any
    either: int | None
    ts: int
    retries: int = 3
    note: str | None = None


def topic_of(value_type, **more):
    return App("acme").topic("orders", value_type=value_type, key_field="account", **more)


@pytest.mark.parametrize("topic", built_in.topology.topics, ids=lambda topic: topic.name)
def test_each_topic_of_the_built_in_app_has_one(topic):
    """Users start from an example that arrives."""
    [line] = examples(topic)
    decoded, keys, _ = outgoing(topic, [line], NOW_MS, LIMITS)
    assert not decoded.bad
    assert len(keys) == 1


def test_an_apps_own_type_has_one_within_its_bounds():
    """Every kind of field, bounds, nested and recursive types, defaults, declared examples."""
    topic = topic_of(Odd, time_field="ts")
    [event] = map(json.loads, examples(topic))
    assert event["ts"] == NOW_MS
    assert event["code"] == "EUR"
    assert event["retries"] == 3
    assert (event["small"], event["even"], event["share"]) == (6, 4, 1.0)
    assert event["kind"] in {"sale", "refund"}
    assert len(event["tags"]) == 2


def test_several_have_ids_of_their_own_and_times_in_order():
    """With one id they would count once."""
    events = [json.loads(line) for line in examples(built_in.topology.topics[0], 5)]
    assert len({event["event_id"] for event in events}) == 5
    assert [event["ts"] for event in events] == [NOW_MS - 4 + i for i in range(5)]


class Patterned(Record):
    account: Annotated[str, Meta(pattern="^[0-9]{4}$")]


def test_a_type_without_a_valid_example_is_refused_with_the_field():
    """An example that the pipeline refuses would be worse than none."""
    with pytest.raises(UsageError, match=r"\$\.account.*Meta\(examples"):
        examples(topic_of(Patterned))
