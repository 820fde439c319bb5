"""Replaces a few lines of the engine within a context."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

Variant = Callable[[], AbstractContextManager[Any]]


def replaced(owner: Any, **members: Any) -> Variant:
    """A variant in which ``owner`` has other members."""

    @contextmanager
    def variant() -> Iterator[None]:
        with ExitStack() as patches:
            for name, member in members.items():
                patches.enter_context(patch.object(owner, name, member))
            yield

    return variant
