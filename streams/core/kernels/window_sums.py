"""Columns of the scratch array of streams/core/kernels/windows.py."""

from __future__ import annotations

S1, D1, D2 = 0, 2, 4
"""Sums of a slot's values, deviations and squared deviations; each is followed by its rounding
error."""
SUMS = 6
