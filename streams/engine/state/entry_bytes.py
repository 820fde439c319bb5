"""What an entry of a keyed table costs in memory (docs/protocols/bounds.md, "Bytes of tables")."""

from __future__ import annotations

from typing import Any, Final

from streams.engine.state.table_values import SCALARS, Packed, value_bytes

ABSENT: Final = object()
_KEY_BYTES_IN_MEMORY: Final = 330
"""memory of a key with a number: dictionary slot, object headers, owner, and its place in `LiveKeys`"""
_KEY_COPIES: Final = 2
"""the key itself, and its bytes in `LiveKeys`"""


def entry_bytes(key: bytes, held: Any) -> int:
    """Memory of an entry; 0 if it is absent."""
    if held is ABSENT:
        return 0
    return _KEY_BYTES_IN_MEMORY + _KEY_COPIES * len(key) + held_bytes(held)


def held_bytes(held: Any) -> int:
    """Memory of a held value beyond that of a number; -1 if it is absent or deleted."""
    kind = type(held)
    if kind is Packed or (kind is str and held.isascii()):
        return len(held)
    return value_bytes(held) if kind in SCALARS else -1
