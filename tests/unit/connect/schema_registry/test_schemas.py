"""Event families, their published documents, and compatible changes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta

from agents.app import MODEL_METRICS, app
from streams.connect.schema_registry.compatibility import differences
from streams.connect.schema_registry.documents import publish, published, review
from streams.core.errors import UsageError
from streams.core.topics.topic import Topic
from streams.engine.app.app import App


def test_the_published_documents_are_those_of_the_types():
    """A changed type with an unchanged document would break external readers."""
    assert {
        finding.name: finding.state for finding in review(app.topology.topics, app.schemas)
    } == {
        "model_metric.v1": "same",
        "simulation_request.v1": "same",
        "simulation_result.v1": "same",
        "training_result.v1": "same",
    }


def test_every_topic_has_the_fields_it_names():
    """With a key or time field that no event has, every record would be a dead letter."""
    for topic in app.topology.topics:
        fields = {field.name for field in msgspec.structs.fields(topic.type)}
        assert {topic.key_field, topic.time_field} <= fields


def test_an_unknown_topic_is_named_with_the_known_ones():
    """A user who misspelt a topic sees this message."""
    with pytest.raises(KeyError, match=r"'metrics'; declared are: model\.metrics"):
        app.topology.topic("metrics")


def _topic(*versions: type[msgspec.Struct], upcasters=None) -> Topic:
    numbered = dict(enumerate(versions, start=1))
    return App("test").topic(
        "things",
        schema="thing",
        time_field="ts",
        versions=numbered,
        upcasters=upcasters,
    )


class ThingV1(msgspec.Struct):
    ts: int
    size: int


class ThingV2(msgspec.Struct):
    ts: int
    size: int
    colour: str | None = None


class ThingV3(msgspec.Struct):
    ts: int
    size_bytes: int
    colour: str | None = None


def _v2_to_v3(thing: ThingV2) -> ThingV3:
    return ThingV3(ts=thing.ts, size_bytes=thing.size, colour=thing.colour)


STEPS = {2: _v2_to_v3}


@pytest.mark.parametrize("version", [1, 2])
def test_an_old_event_is_read_as_the_latest(version):
    """Version 1 is readable as version 2 without a step; an upcaster leads from 2 to 3."""
    way = _topic(ThingV1, ThingV2, ThingV3, upcasters=STEPS).reading(version)
    event = msgspec.json.decode(b'{"ts":1,"size":2}', type=way.type)
    for step in way.steps:
        event = step(event)
    assert event == ThingV3(ts=1, size_bytes=2)


def test_a_version_that_was_never_published_cannot_be_read():
    """The codec turns this into unknown_schema_version."""
    with pytest.raises(KeyError, match="no version 4"):
        _topic(ThingV1, ThingV2, ThingV3, upcasters=STEPS).reading(4)


def test_a_missing_later_step_is_found_when_the_topic_is_declared():
    """The error comes before the first old record in production."""
    with pytest.raises(UsageError, match="cannot read its type: 2"):
        _topic(ThingV1, ThingV2, ThingV3, upcasters={1: lambda thing: thing})


def test_a_change_that_old_records_do_not_fit_is_refused(tmp_path):
    """Before publishing everything may change; after it old records must stay readable."""
    family = (_topic(ThingV1),)
    assert [f.state for f in review(family, tmp_path)] == ["new"]
    publish(family, tmp_path)
    assert [f.state for f in review(family, tmp_path)] == ["same"]
    assert [f.state for f in review((_topic(ThingV2),), tmp_path)] == ["changed"]
    broken = review((_topic(ThingV3),), tmp_path)[0]
    assert broken.state == "broken"
    assert [str(d) for d in broken.differences] == ["$.size_bytes: is now required"]


def test_a_new_version_needs_to_read_the_old_one_or_an_upcaster(tmp_path):
    """Version 3 renames a field: without the upcaster its records would all be dead letters."""
    topic = _topic(ThingV1, ThingV2, ThingV3)
    bridged = _topic(ThingV1, ThingV2, ThingV3, upcasters=STEPS)
    assert [f.state for f in review((topic,), tmp_path)] == ["new", "new", "broken"]
    assert [f.state for f in review((bridged,), tmp_path)] == ["new", "new", "new"]


def test_a_document_names_its_topic_and_version():
    """Users find these files outside of the repository."""
    found = published(MODEL_METRICS, 1, app.schemas)
    assert found is not None
    assert found["$id"] == "urn:dia:schema:model_metric:1"
    assert found["topic"] == "model.metrics"
    assert published(MODEL_METRICS, 99, app.schemas) is None


class Node(msgspec.Struct):
    label: str
    children: "list[Node]" = []  # noqa: UP037 - a forward reference to itself


class WiderNode(msgspec.Struct):
    label: str | int
    children: "list[WiderNode]" = []  # noqa: UP037 - a forward reference to itself


def test_recursive_types_are_compared_and_end():
    """A recursive type must not hang the check, whatever the verdict."""
    narrow, wide = msgspec.json.schema(Node), msgspec.json.schema(WiderNode)
    assert differences(narrow, wide) == []
    assert [d.path for d in differences(wide, narrow)] == ["$.label"]


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        (str, Annotated[str, Meta(max_length=5)], "$"),
        (Annotated[str, Meta(max_length=5)], Annotated[str, Meta(max_length=4)], "$"),
        (Annotated[int, Meta(ge=0)], Annotated[int, Meta(ge=1)], "$"),
        (float, int, "$"),
        (int | None, int, "$"),
        (Literal["a", "b"], Literal["a"], "$"),
        (list[float], list[int], "$[]"),
        (dict[str, float], dict[str, int], "$.*"),
        (dict[str, Any], dict[str, int], "$.*"),
        (str, Annotated[str, Meta(pattern="^x")], "$"),
    ],
)
def test_narrowing_is_found_and_widening_is_allowed(old, new, path):
    """Each pair is a change in both directions: one breaks readers, the other does not."""
    before, after = msgspec.json.schema(old), msgspec.json.schema(new)
    assert path in [difference.path for difference in differences(before, after)]
    assert differences(after, before) == []


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        (int, str, "$"),
        (Annotated[int, Meta(ge=0)], Annotated[int, Meta(gt=0)], "$"),
        (ThingV1, dict[str, str], "$.ts"),
        (dict[str, int], ThingV1, "$.ts"),
    ],
)
def test_a_change_to_an_unrelated_type_is_found(old, new, path):
    """This includes types where neither contains the other."""
    found = differences(msgspec.json.schema(old), msgspec.json.schema(new))
    assert path in [difference.path for difference in found]
