"""Messages of `dia query` for statements that cannot be answered."""

from __future__ import annotations

import pytest

from streams.cli.query import _refused
from streams.connect.sinks.replica import StatementRefused, _undecoded

_SYNTAX = "Syntax error: failed at position 28 (FORMAT) (line 2, col 2): FORMAT Native. Expected"


@pytest.mark.parametrize(
    ("statement", "noted", "place"),
    [
        ("SELECT 1 FORMAT JSON", True, "(FORMAT)"),
        ("select 1 format\n csv;", True, "(FORMAT)"),
        ("SELECT 1 WHERE", False, "(end of the statement)"),
        ("-- information", False, "(end of the statement)"),
    ],
)
def test_a_format_clause_is_named_only_where_the_user_wrote_one(statement, noted, place):
    """The client appends a clause of its own, which the server's message repeats."""
    refused = _refused(StatementRefused(_SYNTAX, 62), statement)
    assert "FORMAT Native" not in str(refused)
    assert place in str(refused)
    assert any("-o json" in note for note in getattr(refused, "__notes__", ())) == noted


@pytest.mark.parametrize(
    ("types", "words"),
    [
        ([("a", "UInt8"), ("s", "AggregateFunction(sum, UInt8)")], "column s of the type"),
        ([("s", "Array(AggregateFunction(uniq, UInt8))")], "finalizeAggregation(column)"),
        ([("a", "UInt8"), ("o", "Odd")], "column o of the type Odd"),
        ([("a", "SimpleAggregateFunction(sum, UInt8)")], "a value that dia cannot show: no Odd"),
        ([], "toString(column)"),
    ],
)
def test_a_column_that_cannot_be_decoded_is_named(types, words):
    """The message says how to change the statement."""
    assert words in _undecoded("no Odd", types)
