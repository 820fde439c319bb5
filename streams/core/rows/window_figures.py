"""The parts of a declaration of windows that readers see: dimensions, figures, charts and grains
(streams/connect/sinks/window_views/view.py)."""

from __future__ import annotations

import re
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from streams.core.errors import UsageError

Merge: TypeAlias = Literal["sum", "min", "max", "first", "last", "state", "none"]
"""How the figures of several rows give that of all; "state": by states that the rows hold, "none": not."""
Form: TypeAlias = Literal["lines", "bars", "band"]
"""of a chart. "band": a mean, its deviation, a least and a greatest value, in this order"""

_WHOLE: Final = re.compile(r"-?[0-9]{1,19}")
_RESERVED: Final = frozenset(
    {
        *(
            "t",
            "closed",
            "columns",
            "heatmap",
            "tenant",
            "windows",
            "figure",
            "figures",
            "left_out",
        ),
        *("from", "to", "from_s", "to_s", "step", "step_s", "table", "buckets", "format", "of"),
        *("as_of_ms", "degraded"),
    }
)


def outward(name: str, owner: Literal["by", "fold"]) -> str:
    """A declared name as parameters and answers have it: ``by.from`` for a field called "from"."""
    return f"{owner}.{name}" if name in _RESERVED else name


class Dimension(NamedTuple):
    """``column`` of the tables; ``name`` in questions and answers; ``kind`` is str, int or bool. A text has at
    most ``chars_max`` characters."""

    column: str
    name: str
    kind: type
    chars_max: int = 1024

    def value(self, text: str) -> Any:
        """Raises `UsageError` for a text that is no value of it."""
        if self.kind is str:
            return text
        if self.kind is bool:
            if text in ("true", "false"):
                return text == "true"
        elif _WHOLE.fullmatch(text) and -(1 << 63) <= int(text) < 1 << 63:
            return int(text)
        wanted = "true or false" if self.kind is bool else "a whole number"
        raise UsageError(f"{self.name} is {wanted}, not {text!r}.")


class WindowFigure(NamedTuple):
    """``type`` in ClickHouse's notation."""

    name: str
    type: str
    merge: Merge = "none"

    @property
    def is_number(self) -> bool:
        return not any(word in self.type for word in ("String", "Array", "Map", "Date"))


class Chart(NamedTuple):
    """Figures that are drawn in one chart. ``note``: their accuracy, or ""."""

    name: str
    title: str
    form: Form
    figures: tuple[str, ...]
    note: str = ""


FOREVER_S: Final = 1 << 40


class Grain(NamedTuple):
    """``width_ms``: of one step, which holds at most one row of a partition; ``range_s``: a longer range is read
    from the next grain, and so is one that begins longer ago than ``kept_s``."""

    table: str
    width_ms: int
    range_s: int
    kept_s: int = FOREVER_S
