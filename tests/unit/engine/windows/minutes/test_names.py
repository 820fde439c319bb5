"""Series names as integers, the keys of every look-up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.errors import StateLimit
from streams.engine.windows.minutes import names as module
from streams.engine.windows.minutes.names import NameCodes, SeriesNames, local_dictionary, renumber

texts = st.text(min_size=1, max_size=6)
rows = st.lists(st.tuples(texts, texts, texts), max_size=40)


def _columns(series):
    return [list(column) for column in zip(*series, strict=True)] or [[], [], []]


@given(st.lists(rows, max_size=4))
def test_a_key_gives_back_its_three_names(batches):
    """A key must never give the names of another series."""
    known = SeriesNames()
    for batch in batches:
        keys = known.keys(*_columns(batch))
        assert list(zip(*known.series(keys), strict=True)) == batch
        assert len(set(keys.tolist())) == len(set(batch))


@given(rows, st.data())
def test_renumbering_keeps_the_names_in_use_and_drops_the_others(batch, data):
    """Otherwise names of expired series would fill the memory."""
    known = SeriesNames()
    keys = known.keys(*_columns(batch))
    kept = keys[: data.draw(st.integers(0, len(keys)))]
    fresh, mapped = renumber(known, kept)
    assert fresh.series(mapped) == known.series(kept)
    assert len(fresh) == sum(len(set(column)) for column in known.series(kept))


def test_more_names_than_codes_stop_the_partition(monkeypatch):
    """A wrapped code would merge two tenants without an error."""
    monkeypatch.setattr(module, "MAX_CODES", 3)
    codes = NameCodes("tenant")
    assert codes.codes(["a", "b", "c", "a"]).tolist() == [0, 1, 2, 0], (
        "codes follow the order of appearance"
    )
    with pytest.raises(StateLimit, match="more than 3 different tenant names"):
        codes.add("d")


def test_sizes_are_in_bytes_and_survive_growth():
    """Segments are split by these sizes: characters would undercount."""
    codes = NameCodes("model")
    names = [f"é{number}" for number in range(3000)]
    codes.codes(names)
    assert [codes.sizes[codes.code[name]] for name in names] == [
        len(name.encode()) for name in names
    ]


@given(st.lists(st.integers(0, 9), max_size=30))
def test_a_local_dictionary_holds_only_used_names(codes):
    """Exported data carries its own names."""
    used, index = local_dictionary(np.array(codes, np.int64), "abcdefghij")
    assert [used[i] for i in index.tolist()] == ["abcdefghij"[code] for code in codes]
    assert len(used) == len(set(codes))
