"""The number of examples per law: `make test` tries a third, `make test-faults` all of them."""

from __future__ import annotations

import os

_WHOLE = os.environ.get("TEST_DEPTH") == "whole"


def cases(whole: int) -> int:
    """Examples of a law whose search takes seconds; ``whole`` with ``TEST_DEPTH=whole``."""
    return whole if _WHOLE else whole // 3
