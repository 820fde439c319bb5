"""The column ``moved`` of window tables: which move of stored days placed a row, or brought it to its
shard (docs/protocols/shard_moves.md)."""

from __future__ import annotations

from typing import Final

SOURCE_BITS: Final = 12
"""The lower bits are the shard that the row came from, the upper ones the version of the move."""
_PLACED: Final = (1 << SOURCE_BITS) - 1


def token(version: int, source: int) -> int:
    """Of the rows that a move brings from one shard."""
    return version << SOURCE_BITS | source


def mark(version: int) -> int:
    """Of the rows of windows that began after their partition had taken the move, and which it placed."""
    return token(version, _PLACED)


def version_of_move(moved: int) -> int:
    """0: the row was placed by no move."""
    return moved >> SOURCE_BITS
