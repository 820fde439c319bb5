"""Scratch of the kernel that folds records into windows (streams/core/kernels/windows.py)."""

from __future__ import annotations

S1, D1, D2 = 0, 2, 4
"""Columns: the sums of a slot's values, deviations and squared deviations. What rounding took from each
stands in the column behind it."""
SUMS = 6
"""How many columns there are."""
