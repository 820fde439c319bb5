"""Event identities, and payload hashes that make a repeat a conflict."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streams.engine.windows.fingerprint import Fingerprints
from streams.engine.windows.minutes.names import SeriesNames

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
def test_one_id_of_one_tenant_is_one_identity(rows):
    """The other fields do not matter; an event without an id is identified by its bytes. NUL is an
    ordinary character: tenant and id must not run into each other."""
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
    """Every restart cuts the log into other batches."""
    assert _identities(rows) == [_identities([row])[0] for row in rows]


@given(st.lists(events, min_size=1, max_size=10))
def test_another_secret_gives_different_identities(rows):
    """Otherwise a sender could compute identities and craft collisions."""
    assert set(_identities(rows)).isdisjoint(_identities(rows, OTHER))


@given(st.lists(series, max_size=20), st.lists(series, min_size=1, max_size=20))
def test_a_series_fingerprint_does_not_depend_on_earlier_names(before, rows):
    """It must be the same after a restart that gives names other codes; "a", "b" is not "b", "a"."""
    known = SeriesNames()
    if before:
        _series(before, names=known)
    found = [mac.tobytes() for mac in _series(rows, names=known)[1]]
    assert found == [mac.tobytes() for mac in _series(rows)[1]]
    assert len(set(found)) == len(set(rows))


@given(st.lists(said, min_size=1, max_size=20))
def test_payload_hashes_are_equal_exactly_if_the_fields_are(rows):
    """Otherwise a repeat becomes a conflict, or a conflict is dropped as a repeat."""
    found = _payloads(rows)
    for i, first in enumerate(rows):
        for j, second in enumerate(rows[:i]):
            assert (found[i] == found[j]) == (first == second)


@given(st.lists(said, min_size=1, max_size=10))
def test_a_payload_hash_does_not_depend_on_its_batch(rows):
    """A neighbour with a run must not change the hash of a row without one."""
    assert _payloads(rows) == [_payloads([row])[0] for row in rows]


def test_zero_and_negative_zero_are_equal():
    """JSON writers disagree about -0.0."""
    one = ("a", "b", "c")
    assert len(set(_payloads([(one, 5, 0.0, None), (one, 5, -0.0, None)]))) == 1
