"""Properties of sketch codes: error bound, order, symmetry, and the edge at 1e-9."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streams.engine.windows.minutes.sketch_code import (
    LARGEST_CODE,
    OFFSET,
    SMALLEST,
    decode,
    encode,
)

MAGNITUDES = st.floats(min_value=SMALLEST, max_value=1e150, allow_nan=False)
SIGNED = st.one_of(MAGNITUDES, MAGNITUDES.map(lambda v: -v), st.just(0.0))
# At a bucket's edge the error equals the bound, so the last bit of exp and log decides.
ROUNDING = 1e-12


@given(st.lists(SIGNED, min_size=1, max_size=50))
def test_a_decoded_value_is_within_one_percent(values: list[float]) -> None:
    """Percentiles rely on this bound, from 1e-9 to 1e150 and for both signs."""
    exact = np.array(values)
    error = np.abs(decode(encode(exact)) - exact)
    assert (error <= (0.01 + ROUNDING) * np.abs(exact)).all()


def test_the_bound_holds_on_both_sides_of_every_bucket_edge() -> None:
    """Random values rarely hit an edge, where the error is largest, so the test visits all edges."""
    codes = np.arange(1, encode(1e150) + 1)
    edges = decode(codes) / 1.01
    for values in (edges, np.nextafter(edges, 0), np.nextafter(edges, np.inf)):
        kept = values[(values >= SMALLEST) & (values <= 1e150)]
        error = np.abs(decode(encode(kept)) / kept - 1)
        assert error.max() <= 0.01 + ROUNDING


@given(st.lists(SIGNED, min_size=2, max_size=50))
def test_codes_sort_as_values_do(values: list[float]) -> None:
    """One pass over codes in order gives quantiles of mixed signs only if this holds."""
    ordered = np.sort(np.array(values))
    assert (np.diff(encode(ordered).astype(int)) >= 0).all()


@given(SIGNED)
def test_codes_are_symmetric(value: float) -> None:
    """A negative value has the error bound of its magnitude."""
    assert encode(-value) == -encode(value)


def test_the_smallest_magnitude_has_code_one_and_less_is_zero() -> None:
    """The offset is chosen for this: 1037 would err by 1.26 % at 1e-9."""
    values = [SMALLEST, -SMALLEST, np.nextafter(SMALLEST, 0), 0.0, -0.0, 5e-324]
    assert encode(values).tolist() == [1, -1, 0, 0, 0, 0]
    assert abs(float(decode(1)) / SMALLEST - 1) <= 0.01


def test_a_code_is_the_logarithm_moved_by_the_offset() -> None:
    """The stored format: 1.0 lies at the lower edge of bucket 0."""
    assert encode([1.0, -1.0, 1.0 - 1e-12]).tolist() == [OFFSET, -OFFSET, OFFSET - 1]


def test_a_value_beyond_the_last_code_is_clamped() -> None:
    """An Int16 must not wrap to the other sign."""
    assert encode([1e300, -1e300]).tolist() == [LARGEST_CODE, -LARGEST_CODE]
