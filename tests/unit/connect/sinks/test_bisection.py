"""Bisection of a refused insert: all valid rows are stored, all invalid ones named."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.connect.sinks.bisection import PARTITIONS_MAX, REFUSED_MAX, store
from streams.connect.sinks.replica import RowsUnfit
from streams.core.errors import ShardUnavailable
from streams.core.rows.built_in_tables import RowsRefused


class Table:
    """Accepts all rows of an insert, or none if one of them is in ``bad``."""

    def __init__(self, bad: set[int]) -> None:
        self.bad = bad
        self.inserts: list[list[int]] = []

    def send(self, rows: pa.Table) -> None:
        ids = rows["id"].to_pylist()
        if self.bad & set(ids):
            raise RowsUnfit(f"bad among {len(ids)}")
        self.inserts.append(ids)

    def stored(self) -> list[int]:
        return sorted(row for insert in self.inserts for row in insert)


@given(
    st.lists(st.integers(0, 400), min_size=1, max_size=300),
    st.sets(st.integers(0, 299), max_size=8),
)
def test_every_row_is_stored_or_named(days: list[int], bad: set[int]) -> None:
    """Each row is either stored or named, once, and no insert exceeds the partition limit."""
    count = len(days)
    table = Table(bad)
    partition = np.array(days, np.int64)
    refused: list[int] = []
    try:
        store(pa.table({"id": np.arange(count)}), partition, table.send)
    except RowsRefused as error:
        refused = error.indexes
    assert refused == sorted(row for row in bad if row < count)
    assert table.stored() == [row for row in range(count) if row not in bad]
    assert all(len(set(partition[insert])) <= PARTITIONS_MAX for insert in table.inserts)


def test_good_rows_go_in_one_insert() -> None:
    """Each cut makes another part; valid inserts must not be cut."""
    table = Table(set())
    store(pa.table({"id": np.arange(1000)}), np.arange(1000) % PARTITIONS_MAX, table.send)
    store(pa.table({"id": np.arange(1000)}), None, table.send)
    assert [len(insert) for insert in table.inserts] == [1000, 1000]


def test_a_table_that_refuses_all_rows_is_a_schema_fault() -> None:
    """Naming every row as invalid would dead-letter the whole output of a faulty deployment."""
    table = Table(set(range(4 * REFUSED_MAX)))
    with pytest.raises(ShardUnavailable, match="dia migrate status"):
        store(pa.table({"id": np.arange(4 * REFUSED_MAX)}), None, table.send)


@pytest.mark.parametrize("partitions", [None, PARTITIONS_MAX])
def test_rows_of_few_partitions_are_one_insert_in_their_order(partitions):
    """Each insert costs as much as thousands of rows."""
    count = 2 * PARTITIONS_MAX
    table = Table(set())
    partition = None if partitions is None else np.arange(count, dtype=np.int64)[::-1] % partitions
    store(pa.table({"id": np.arange(count)}), partition, table.send)
    assert table.inserts == [[*range(count)]]


def test_as_many_refused_rows_as_the_bound_are_named():
    """Each becomes a dead letter; one more stops the bisection."""
    bad = set(range(0, 2 * REFUSED_MAX, 2))
    with pytest.raises(RowsRefused) as refused:
        store(pa.table({"id": np.arange(2 * REFUSED_MAX)}), None, Table(bad).send)
    assert refused.value.indexes == sorted(bad)


def test_rows_of_many_partitions_are_cut_by_partition():
    """The server refuses an insert into more than 100."""
    count = 2 * PARTITIONS_MAX + 1
    table, partition = Table(set()), np.arange(count, dtype=np.int64)[::-1].repeat(2)
    store(pa.table({"id": np.arange(2 * count)}), partition, table.send)
    assert [len({*partition[rows].tolist()}) for rows in table.inserts] == [90, 90, 1]
    assert table.stored() == [*range(2 * count)]
