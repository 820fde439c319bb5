"""The views that people query by plain names."""

from __future__ import annotations

import pytest

from streams.connect.sinks.readable_views import COLUMNS, READABLE, readable_views
from streams.connect.sinks.view_source import _MEANING, WINDOWS, ViewSource


def test_every_column_says_what_it_is():
    """`DESCRIBE` was a list of letters."""
    assert all(comment for _, comment in COLUMNS.values())
    for columns in WINDOWS.values():
        assert columns.keys() == _MEANING.keys()
    made = readable_views("d", frozenset())
    for name, (_, comment) in COLUMNS.items():
        assert made.count(f"{name} ") >= 3
        assert made.count(f"COMMENT '{comment}'") == 3


@pytest.mark.parametrize("name", READABLE)
def test_a_table_of_the_app_keeps_its_name(name):
    """An app may call its own windows `minutes`: a view must not replace theirs."""
    assert f"VIEW d.{name}\n" not in readable_views("d", frozenset({name}))
    assert readable_views("d", frozenset({name})).count("CREATE OR REPLACE VIEW") == 2
    source = ViewSource(database="d", sisters={}, tables={})
    assert f"CREATE OR REPLACE VIEW d.{name}\n" in source.views()
