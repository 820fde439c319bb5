"""Which Python values fit a ClickHouse column, checked before the commit."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from streams.core.rows.column_type import TIME, column_type


@pytest.mark.parametrize(
    "text",
    [
        "String", "UInt8", "Int64", "Float64", "Bool", "Date", TIME, "LowCardinality(String)",
        "Nullable(Float64)", "Array(UInt32)", "Map(LowCardinality(String), UInt64)",
        "Array(Map(String, Array(Int8)))",
    ],
)  # fmt: skip
def test_a_type_is_formatted_as_by_the_server(text) -> None:
    assert str(column_type(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "Strings", "UInt128", "Array(String", "Map(String)", "String)", "Array()", "DateTime"],
)
def test_a_type_that_dia_does_not_write_is_refused(text) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        column_type(text)


def test_python_types_stand_for_column_types() -> None:
    shorts = [str(column_type(kind)) for kind in (str, int, float, bool, datetime, date)]
    assert shorts == ["String", "Int64", "Float64", "Bool", TIME, "Date"]


@pytest.mark.parametrize(
    ("text", "value", "stored"),
    [
        ("UInt8", 255, 255),
        ("UInt8", True, 1),
        ("Int8", -128, -128),
        ("Float64", 3, 3.0),
        ("String", "ä", "ä"),
        ("Bool", 1, True),
        ("Nullable(UInt8)", None, None),
        ("Array(UInt8)", (1, 2), [1, 2]),
        ("Map(String, Float64)", {"a": 1}, {"a": 1.0}),
        (TIME, datetime(2026, 1, 1, tzinfo=UTC), 1_767_225_600_000),
        (TIME, 1_767_225_600_000, 1_767_225_600_000),
        ("Date", date(1970, 1, 2), 1),
    ],
)
def test_a_value_is_converted_to_the_type_of_its_column(text, value, stored) -> None:
    found = column_type(text).fit(value)
    assert found == stored
    assert type(found) is type(stored)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("UInt8", 256),
        ("UInt64", -1),
        ("Int64", 1.5),
        ("Int64", "1"),
        ("Int64", None),
        ("Float64", "1"),
        ("Float64", None),
        ("String", b"x"),
        ("String", "\ud800"),
        ("Bool", 2),
        ("Array(UInt8)", "12"),
        ("Array(UInt8)", [1, 300]),
        ("Map(String, Float64)", [("a", 1)]),
        (TIME, datetime(2026, 1, 1)),  # noqa: DTZ001 - a time without its zone is the case
        (TIME, 10**15),
        ("Date", date(1969, 12, 31)),
    ],
)
def test_a_value_that_the_server_would_refuse_is_refused_here(text, value) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        column_type(text).fit(value)
