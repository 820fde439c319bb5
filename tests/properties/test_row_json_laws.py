"""A row of any columns is read back unchanged from its dead letter."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.rows.column_type import column_type
from streams.core.rows.row_json import read_row, row_json

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = {
    "String": TEXT,
    "UInt64": st.integers(0, 2**64 - 1),
    "Int8": st.integers(-128, 127),
    "Float64": st.floats(),
    "Bool": st.booleans(),
    "Date": st.integers(0, 65_535),
}
KEYS = ("String", "UInt64", "Int8", "Date")


@st.composite
def typed_values(draw, depth=2):
    """A type and a value as `ColumnType.fit` returns it."""
    kind = draw(st.sampled_from([*VALUES, *(("Nullable", "Array", "Map") if depth else ())]))
    if kind in VALUES:
        return kind, draw(VALUES[kind])
    if kind == "Map":
        name = draw(st.sampled_from(KEYS))
        inner, value = draw(typed_values(depth=depth - 1))
        keys = draw(st.lists(VALUES[name], max_size=3, unique=True))
        return f"Map({name}, {inner})", dict.fromkeys(keys, value)
    inner, value = draw(typed_values(depth=depth - 1))
    if kind == "Nullable":
        if inner.startswith(("Nullable", "Array", "Map")):
            return inner, value
        return f"Nullable({inner})", draw(st.sampled_from([value, None]))
    return f"Array({inner})", [value] * draw(st.integers(0, 3))


def same(one, other):
    """Equal in value and type, where NaN equals itself, and 0.0 differs from -0.0."""
    return repr(one) == repr(other)


@given(st.dictionaries(st.sampled_from("abcd"), typed_values(), min_size=1))
def test_a_row_is_read_back_unchanged(columns):
    """A replay must insert the refused row, not an approximation by JSON."""
    types = {name: column_type(kind) for name, (kind, _) in columns.items()}
    row = {name: types[name].fit(value) for name, (_, value) in columns.items()}
    found = read_row(types, row_json("t", row))
    assert same(found, row)


@pytest.mark.parametrize("key", ["Bool", "Nullable(String)", "Array(String)"])
def test_a_map_without_a_json_form_cannot_be_declared(key):
    """Its refused row could not become a dead letter and would block the commit."""
    with pytest.raises(ValueError, match="a Map has no keys of"):
        column_type(f"Map({key}, String)")


def test_an_unknown_column_is_refused():
    """Ignored silently, its value would be lost."""
    with pytest.raises(ValueError, match="'b' that is not declared"):
        read_row({"a": column_type("String")}, msgspec.json.encode({"table": "t", "a": "", "b": 1}))
