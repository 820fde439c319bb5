"""Cuts entries into parts of a bounded size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def sized_parts(
    items: Iterable[T], size_of: Callable[[T], int], most_bytes: int
) -> Iterator[list[T]]:
    """In order, none empty: each part has at most ``most_bytes``, or one item."""
    part: list[T] = []
    used = 0
    for item in items:
        size = size_of(item)
        if part and used + size > most_bytes:
            yield part
            part, used = [], 0
        part.append(item)
        used += size
    if part:
        yield part
