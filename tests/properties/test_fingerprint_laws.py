"""What identifies an event, and what makes a repeat a conflict."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tables.fingerprint import identities, payloads

ids = st.none() | st.text(max_size=8)
seeds = st.integers(0, 2**64 - 1)
events = st.tuples(ids, st.integers(0, 3), st.binary(max_size=8))
said = st.tuples(
    st.integers(0, 3),
    st.integers(-(2**40), 2**40),
    st.floats(-1e150, 1e150, allow_nan=False),
    st.none() | st.text(max_size=4),
)


def _identities(rows):
    hi, lo = identities(*(list(column) for column in zip(*rows, strict=True)))
    return list(zip(hi.tolist(), lo.tolist(), strict=True))


def _payloads(rows):
    series, ts, values, runs = (list(column) for column in zip(*rows, strict=True))
    columns = np.array(series, np.uint64), np.array(ts, np.int64), np.array(values, np.float64)
    return payloads(*columns, runs).tolist()


@given(st.lists(events, min_size=1, max_size=20))
def test_one_id_of_one_tenant_is_one_event(rows):
    """Whatever else its bytes say; without an id, its bytes are what identifies it."""
    names = [
        (seed, "id", event_id) if event_id is not None else (seed, "bytes", value)
        for event_id, seed, value in rows
    ]
    found = _identities(rows)
    for i, first in enumerate(names):
        for j, second in enumerate(names[:i]):
            alike = first[0] == second[0] and _raw(first) == _raw(second)
            assert (found[i] == found[j]) == alike


def _raw(name):
    return name[2].encode() if name[1] == "id" else name[2]


@given(st.lists(events, min_size=1, max_size=10))
def test_an_identity_does_not_depend_on_its_batch(rows):
    """Batches are cut anew at every restart."""
    assert _identities(rows) == [_identities([row])[0] for row in rows]


@given(st.lists(said, min_size=1, max_size=20))
def test_payloads_are_equal_where_the_fields_are(rows):
    """Else a repeat would be dead-lettered as a conflict, or a conflict dropped as a repeat."""
    found = _payloads(rows)
    for i, first in enumerate(rows):
        for j, second in enumerate(rows[:i]):
            assert (found[i] == found[j]) == (first == second)


@given(st.lists(said, min_size=1, max_size=10))
def test_a_payload_does_not_depend_on_its_batch(rows):
    """Neighbours with a run id once made every repeat without one a conflict."""
    assert _payloads(rows) == [_payloads([row])[0] for row in rows]


def test_zero_has_no_sign():
    """JSON writers disagree about -0.0; it is no other value."""
    assert len(set(_payloads([(1, 5, 0.0, None), (1, 5, -0.0, None)]))) == 1
