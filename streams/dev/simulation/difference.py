"""What a simulation raises when the engine was wrong."""

from __future__ import annotations


class Difference(AssertionError):  # noqa: N818 - what was found
    """What came out is not what went in."""
