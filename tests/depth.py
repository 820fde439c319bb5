"""The number of examples per law, of planted errors and of slow questions per check: `make test` tries a third, `make
test-faults` all of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

_T = TypeVar("_T")

_WHOLE = os.environ.get("TEST_DEPTH") == "whole"


def cases(whole: int) -> int:
    """Examples of a law whose search takes seconds; ``whole`` with ``TEST_DEPTH=whole``."""
    return whole if _WHOLE else whole // 3


def planted(whole: Sequence[_T]) -> Sequence[_T]:
    """Planted errors that a check has to find, each in seconds; ``whole`` with ``TEST_DEPTH=whole``."""
    return whole if _WHOLE else whole[::3]


def part(whole: Sequence[_T], turn: int) -> Sequence[_T]:
    """A third of slow questions, another one for each ``turn`` from 0 to 2; ``whole`` with ``TEST_DEPTH=whole``."""
    return whole if _WHOLE else whole[turn::3]
