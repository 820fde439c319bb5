"""Constants of the hash table of streams/engine/state/row_table.py."""

from __future__ import annotations

from typing import Final

PROBES_MAX: Final = 64
"""Probes per hash before the overflow list."""
