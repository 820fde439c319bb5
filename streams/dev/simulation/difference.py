"""The error of a simulation with a wrong result."""

from __future__ import annotations


class Difference(AssertionError):  # noqa: N818 - what was found
    """The result does not match the input."""
