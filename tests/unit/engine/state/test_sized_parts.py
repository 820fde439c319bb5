"""Parts of a bounded size."""

from __future__ import annotations

from streams.engine.state.sized_parts import sized_parts


def test_parts_keep_the_order_and_the_bound():
    """One item alone may be larger, else it would never be written."""
    found = sized_parts([b"aa", b"b", b"cccc", b"", b"d"], len, 3)
    assert [*found] == [[b"aa", b"b"], [b"cccc"], [b"", b"d"]]
    assert [*sized_parts([], len, 3)] == []
