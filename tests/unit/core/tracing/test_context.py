"""The header `traceparent`, as specified by the W3C."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.core.tracing.context import TraceContext

GOOD = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_the_specifications_example_is_read():
    """The example of the specification."""
    found = TraceContext.read(GOOD)
    assert found == (0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331, True)
    assert found.header == GOOD


@pytest.mark.parametrize(
    ("raw", "sampled"),
    [
        (GOOD[:-2] + b"00", False),
        (GOOD[:-2] + b"03", True),
        (b"cc" + GOOD[2:], True),
        (b"cc" + GOOD[2:] + b"-what-the-future-brings", True),
    ],
    ids=["not sampled", "another flag", "later version", "that says more"],
)
def test_only_the_flag_that_is_known_counts(raw, sampled):
    """A later version has the same beginning and may append fields."""
    found = TraceContext.read(raw)
    assert found is not None
    assert found.sampled is sampled


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"ff" + GOOD[2:],
        GOOD + b"-more",
        GOOD.upper(),
        GOOD + b" ",
        b"00-" + b"0" * 32 + GOOD[35:],
        GOOD[:36] + b"0" * 16 + GOOD[52:],
        b"cc" + GOOD[2:] + b"-" + b"x" * 1000,
        b"\xff" * 55,
    ],
)
def test_an_invalid_header_counts_as_absent(raw):
    """A header is untrusted: an invalid one must neither raise nor be used."""
    assert TraceContext.read(raw) is None


@given(
    st.builds(
        TraceContext,
        st.integers(1, 2**128 - 1),
        st.integers(1, 2**64 - 1),
        st.booleans(),
    )
)
def test_a_written_header_is_read(context):
    """Edge and worker use the same format."""
    assert TraceContext.read(context.header) == context
