"""Grouping of dead letters into transactions."""

from __future__ import annotations

from types import SimpleNamespace

from hypothesis import example, given
from hypothesis import strategies as st

from streams.operate.replay.run.step import STEP_BYTES, steps

LETTER_BYTES = 1000
"""What a dead letter counts beside its value."""
LARGEST = 1 << 20


def letters(sizes):
    """Dead letters by the size of their value in bytes; None stands for no value."""
    return [SimpleNamespace(value=None if size is None else bytes(size)) for size in sizes]


def cost(step):
    return sum(len(letter.value or b"") + LETTER_BYTES for letter in step)


@given(
    st.lists(st.sampled_from([None, 0, 1000, LARGEST, 4 * LARGEST]), max_size=40),
    st.integers(1, 12),
)
@example([STEP_BYTES // 2 - LETTER_BYTES] * 5, 5)
@example([2 * STEP_BYTES, 0, 0], 5)
def test_a_step_is_as_large_as_its_bounds_allow_and_no_larger(sizes, count):
    """A transaction is held in memory, and a small one costs as much as a large one."""
    given_ = letters(sizes)
    found = steps(given_, count)
    assert [letter for step in found for letter in step] == given_
    for number, step in enumerate(found):
        assert 0 < len(step) <= count
        assert len(step) == 1 or cost(step) <= STEP_BYTES
        if number + 1 < len(found):
            assert len(step) == count or cost([*step, found[number + 1][0]]) > STEP_BYTES
