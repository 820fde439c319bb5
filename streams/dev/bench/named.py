"""The things that an option names in a comma-separated list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from streams.core.errors import UsageError

T = TypeVar("T")


def named(kind: str, names: str, known: Mapping[str, T]) -> list[T]:
    """In the order of ``names``. Raises `UsageError`."""
    asked = [name.strip() for name in names.split(",")]
    if unknown := [name for name in asked if name not in known]:
        raise UsageError(f"no {kind} {', '.join(unknown)}. Known are: {', '.join(known)}.")
    return [known[name] for name in asked]


def named_or_all(kind: str, names: str, known: Mapping[str, T]) -> list[T]:
    """As `named`; "all" names every one."""
    return list(known.values()) if names == "all" else named(kind, names, known)
