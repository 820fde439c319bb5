"""A schema that is called compatible can read the old events."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta

from streams.connect.schema_registry.compatibility import differences
from tests.depth import cases

INTEGERS = st.integers(-6, 6)
WORDS = st.text("ab", max_size=4)
TYPES: dict[Any, st.SearchStrategy[Any]] = {
    int: INTEGERS,
    float: st.one_of(INTEGERS.map(float), st.floats(-9, 9)),
    str: WORDS,
    bool: st.booleans(),
    Annotated[int, Meta(ge=-2, le=3)]: st.integers(-2, 3),
    Annotated[int, Meta(gt=-3)]: st.integers(-2, 9),
    Annotated[float, Meta(ge=-2, le=3)]: st.floats(-2, 3),
    Annotated[str, Meta(min_length=1, max_length=2)]: st.text("ab", min_size=1, max_size=2),
    Literal["a", "b"]: st.sampled_from(["a", "b"]),
    Literal["a", "b", "c"]: st.sampled_from(["a", "b", "c"]),
    int | None: st.one_of(st.none(), INTEGERS),
    str | int | None: st.one_of(st.none(), INTEGERS, WORDS),
    list[int]: st.lists(INTEGERS, max_size=3),
    list[float]: st.lists(st.floats(-9, 9), max_size=3),
    dict[str, int]: st.dictionaries(WORDS, INTEGERS, max_size=2),
    dict[str, Any]: st.dictionaries(WORDS, st.one_of(INTEGERS, WORDS, st.none()), max_size=2),
}
shapes = st.dictionaries(
    st.sampled_from(["a", "b", "c"]), st.tuples(st.sampled_from(list(TYPES)), st.booleans())
)


def _struct(shape: dict[str, tuple[Any, bool]]) -> type[msgspec.Struct]:
    fields = [
        (name, kind) if required else (name, kind, msgspec.UNSET)
        for name, (kind, required) in shape.items()
    ]
    return msgspec.defstruct("Thing", fields, kw_only=True)


@given(st.data(), shapes, shapes)
@settings(max_examples=cases(1500), deadline=None)
def test_a_compatible_schema_reads_the_old_events(data, old, new):
    """The verdict permits a deploy: it must not be wrong in that direction."""
    if differences(msgspec.json.schema(_struct(old)), msgspec.json.schema(_struct(new))):
        return
    record = {
        name: data.draw(TYPES[kind])
        for name, (kind, required) in old.items()
        if required or data.draw(st.booleans())
    }
    msgspec.json.decode(msgspec.json.encode(record), type=_struct(new))


@given(shapes)
@settings(deadline=None)
def test_a_schema_is_compatible_with_itself(shape):
    """Publishing without a change must always be possible."""
    found = msgspec.json.schema(_struct(shape))
    assert differences(found, found) == []
