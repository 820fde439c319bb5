"""What kernels know of the hash table of streams/engine/state/row_table.py."""

from __future__ import annotations

from typing import Final

PROBES_MAX: Final = 64
"""Places that are looked at for a hash before the table's list of all others is."""
