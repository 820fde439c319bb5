"""What identifies an event, and what makes a repeat a conflict."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streams.engine.windows.fingerprint import Fingerprints
from streams.engine.windows.names import SeriesNames

PRINTS = Fingerprints(bytes(range(16)))
OTHER = Fingerprints(bytes(16))

ids = st.none() | st.text(max_size=8)
tenants = st.text(max_size=3)
events = st.tuples(ids, tenants, st.binary(max_size=8))
series = st.tuples(*(3 * [st.text(min_size=1, max_size=3)]))
said = st.tuples(
    series,
    st.integers(-(2**40), 2**40),
    st.floats(-1e150, 1e150, allow_nan=False),
    st.none() | st.text(max_size=4),
)


def _identities(rows, prints=PRINTS):
    event_ids, names, values = (list(column) for column in zip(*rows, strict=True))
    hi, lo = prints.identities(event_ids, prints.tenants(names), values)
    return list(zip(hi.tolist(), lo.tolist(), strict=True))


def _series(rows, prints=PRINTS, names=None):
    names = names if names is not None else SeriesNames()
    return prints.series(names, names.keys(*(list(column) for column in zip(*rows, strict=True))))


def _payloads(rows, prints=PRINTS):
    names, ts, values, runs = (list(column) for column in zip(*rows, strict=True))
    _, prints_of = _series(names, prints)
    columns = np.array(ts, np.int64), np.array(values, np.float64)
    return prints.payloads(prints_of, *columns, runs).tolist()


@given(st.lists(events, min_size=1, max_size=20))
def test_one_id_of_one_tenant_is_one_event(rows):
    """Whatever else its bytes say; without an id, its bytes are what identifies it. NUL is a
    character as any other: no tenant ends where another's id begins."""
    names = [
        (tenant, "id", event_id) if event_id is not None else (tenant, "bytes", value)
        for event_id, tenant, value in rows
    ]
    found = _identities(rows)
    for i, first in enumerate(names):
        for j, second in enumerate(names[:i]):
            assert (found[i] == found[j]) == (first == second)


@given(st.lists(events, min_size=1, max_size=10))
def test_an_identity_does_not_depend_on_its_batch(rows):
    """Batches are cut anew at every restart."""
    assert _identities(rows) == [_identities([row])[0] for row in rows]


@given(st.lists(events, min_size=1, max_size=10))
def test_another_secret_gives_other_identities(rows):
    """Else they could be computed, and made to meet, by anybody."""
    assert set(_identities(rows)).isdisjoint(_identities(rows, OTHER))


@given(st.lists(series, max_size=20), st.lists(series, min_size=1, max_size=20))
def test_a_series_has_one_fingerprint_whatever_came_before(before, rows):
    """It must be the same after a restart, in which names get other codes; "a", "b" is not
    "b", "a"."""
    known = SeriesNames()
    if before:
        _series(before, names=known)
    found = [mac.tobytes() for mac in _series(rows, names=known)[1]]
    assert found == [mac.tobytes() for mac in _series(rows)[1]]
    assert len(set(found)) == len(set(rows))


@given(st.lists(said, min_size=1, max_size=20))
def test_payloads_are_equal_where_the_fields_are(rows):
    """Else a repeat would be dead-lettered as a conflict, or a conflict dropped as a repeat."""
    found = _payloads(rows)
    for i, first in enumerate(rows):
        for j, second in enumerate(rows[:i]):
            assert (found[i] == found[j]) == (first == second)


@given(st.lists(said, min_size=1, max_size=10))
def test_a_payload_does_not_depend_on_its_batch(rows):
    """A neighbour that names a run must not change the payload of a row without one."""
    assert _payloads(rows) == [_payloads([row])[0] for row in rows]


def test_zero_has_no_sign():
    """JSON writers disagree about -0.0; it is no other value."""
    one = ("a", "b", "c")
    assert len(set(_payloads([(one, 5, 0.0, None), (one, 5, -0.0, None)]))) == 1
