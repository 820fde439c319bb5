"""The row table equals a dictionary with batched look-ups."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streams.engine.state.row_table import PROBES_MAX, RowTable, mixed

# Few different upper halves, so every table has rows that collide.
hashes = st.builds(
    lambda upper, lower: upper << 32 | lower,
    st.sampled_from([0, 1, 1 << 24, 0xFFFFFFFF, 0xFFFFFFFE]),
    st.integers(0, 40),
)


@given(st.lists(st.lists(st.tuples(hashes, st.booleans()), max_size=40), max_size=12))
def test_a_row_table_equals_a_dictionary(batches):
    """With collisions, growth and replacements, each hash finds its own row and no other."""
    table, model = RowTable(), {}
    owner = np.zeros(1000, np.uint64)
    rows = 0
    for batch in batches:
        needles = np.array([h for h, _ in batch], np.uint64)
        found = table.find(needles, lambda rows, index, n=needles: owner[rows] == n[index])
        assert found.tolist() == [model.get(h, -1) for h, _ in batch]
        new = [h for h in dict.fromkeys(h for h, _ in batch) if h not in model]
        again = [h for h, replace in dict(batch).items() if replace and h in model]
        for chosen in (new, again):
            numbers = np.arange(rows, rows + len(chosen))
            rows += len(chosen)
            owner[numbers] = chosen
            key = np.array(chosen, np.uint64)
            if chosen is new:
                table.add(key, numbers)
            else:
                table.replace(key, np.array([model[h] for h in chosen], np.int64), numbers)
            model.update(zip(chosen, numbers.tolist(), strict=True))
    assert len(table) == len(model)


def test_a_table_is_small_until_it_has_many_rows_and_grows_once():
    """Of 64 partitions, each page of a full-sized table was cleared for a single row. No row may lie
    beyond its place for want of room."""
    rng = np.random.default_rng(1)
    table, full = RowTable(100_000, 1000), RowTable(100_000).bytes_used
    hashes = rng.integers(0, 1 << 64, 2000, np.uint64)
    sizes = []
    for first in range(0, 2000, 500):
        table.add(hashes[first : first + 500], np.arange(first, first + 500))
        sizes.append(table.bytes_used)
    assert sizes == [1 << 14, 1 << 14, full, full]
    assert len(table.entries[1]) == 0
    found = table.find(hashes, lambda rows, needles: rows == needles)
    assert found.tolist() == list(range(2000))


def test_colliding_hashes_take_a_bounded_number_of_probes():
    """One probe for each of 3000 colliding ids would stop the worker for seconds. Rows without a
    slot near their home are found by bisection."""
    table, count = RowTable(), 3000
    hashes = np.arange(count, dtype=np.uint64) * np.uint64(1 << 32)
    asked = []

    def meant(rows, index):
        asked.append(len(rows))
        return hashes[rows] == hashes[index]

    for start in range(0, count, 500):
        batch = np.arange(start, start + 500)
        assert (table.find(hashes[batch], meant) == -1).all()
        table.add(hashes[batch], batch)
    asked.clear()
    assert table.find(hashes, meant).tolist() == list(range(count))
    assert len(asked) <= PROBES_MAX + 1
    assert sum(asked) == count, "of those that share a home, one candidate each has the tag"


def test_consecutive_keys_are_spread():
    """Series keys differ in few bits; without mixing, a table would be one long probe sequence."""
    homes = mixed(np.arange(1 << 16)) >> np.uint64(64 - 16)
    assert np.bincount(homes.astype(np.int64), minlength=1 << 16).max() <= 12
