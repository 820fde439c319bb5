"""Slots of window states and their serials."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streams.engine.windows.minutes.window_columns import WindowColumns

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("begin"), st.integers(1, 700)),
        st.tuples(st.just("release"), st.sets(st.integers(0, 40))),
        st.tuples(st.just("look"), st.none()),
    ),
    max_size=12,
)


@given(STEPS)
def test_serials_exist_from_their_begin_to_their_release(steps):
    """A merge of sketch runs keeps the buckets of these: one too few loses values of a live window,
    one too many keeps memory."""
    columns, slots, begun = WindowColumns(capacity=4), {}, 0
    for kind, what in [*steps, ("look", None)]:
        if kind == "begin":
            taken = columns.begin(what)
            assert (columns.n[taken] == 0).all()
            columns.n[taken] = 1  # a slot of before is reset
            slots |= dict(zip(range(begun, begun + what), taken.tolist(), strict=True))
            begun += what
        elif kind == "release":
            ended = [serial for place, serial in enumerate(list(slots)) if place in what]
            columns.release(np.array([slots.pop(serial) for serial in ended], np.int64))
        else:
            found = columns.alive(np.arange(begun + 2))
            assert np.flatnonzero(found).tolist() == sorted(slots)
