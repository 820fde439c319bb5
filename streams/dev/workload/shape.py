"""Parameters of a synthetic stream of `model.metrics`, and named sets of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

from streams.core.errors import UsageError

STEP_MS = 1.2
"""50,000 events per minute of event time"""

DUPLICATE_LAG_MS = 576_000
"""9.6 minutes of event time: longer than any window is open, far below the dedupe TTL."""

DUPLICATE_LAG_EVENTS_MAX = 1_000_000
"""The generator's memory, whatever the step: some 50 MB."""

Spelling: TypeAlias = Literal["compact", "spaced", "escaped", "utf8"]
"""How bodies are written: without white space; as `json.dumps` does by default; so, with tenants
whose names are not ASCII; and these with ``ensure_ascii=False``."""

SHARES_MAX = 0.9
"""duplicates need something to repeat"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A reproducible stream: the same parameters give the same bytes.

    ``duplicates``, ``late``, ``poison`` and ``future`` are exclusive shares of all events. Event i
    is at ``start_ms + i * step_ms``; a late one up to ``late_max_s`` before that, a future one
    years after. Tenants follow Zipf's law with exponent ``zipf``; ``hot`` is the additional share
    of tenant 0."""

    start_ms: int
    seed: int = 1
    tenants: int = 1000
    zipf: float = 1.1
    hot: float = 0.0
    models: int = 50
    metrics: int = 20
    duplicates: float = 0.05
    late: float = 0.02
    late_max_s: float = 90.0
    poison: float = 0.001
    future: float = 0.0001
    step_ms: float = STEP_MS
    spelling: Spelling = "compact"

    def __post_init__(self) -> None:
        """Raises `UsageError` with the field and its range."""
        for name in ("duplicates", "late", "poison", "future", "hot"):
            _check(name, getattr(self, name), 0, 1)
        _check("the sum of all shares", self.special, 0, SHARES_MAX)
        for name in ("tenants", "models", "metrics"):
            _check(name, getattr(self, name), 1, 1_000_000)
        _check("late_max_s", self.late_max_s, 0, 604_800)
        _check("step_ms", self.step_ms, 1e-6, 86_400_000)
        _check("zipf", self.zipf, 0, 10)
        if self.spelling not in get_args(Spelling):
            known = ", ".join(get_args(Spelling))
            raise UsageError(f"workload: spelling is {self.spelling!r}, known are {known}.")
        _check("seed", self.seed, 0, 2**63 - 1)

    @property
    def special(self) -> float:
        return self.duplicates + self.late + self.poison + self.future

    @property
    def duplicate_lag_events(self) -> int:
        """How many events back a duplicate may reach."""
        return max(1, min(DUPLICATE_LAG_EVENTS_MAX, int(DUPLICATE_LAG_MS / self.step_ms)))


PRESETS: Mapping[str, Mapping[str, Any]] = {
    "wide": {"tenants": 1000, "models": 50, "metrics": 20},
    "narrow": {"tenants": 1000, "models": 5, "metrics": 20},
    "hot": {"hot": 0.9},
    "dups": {"duplicates": 0.3},
    "single": {"tenants": 1, "models": 1, "metrics": 1},
    "spaced": {"models": 5, "spelling": "spaced"},
    "escaped": {"models": 5, "spelling": "escaped"},
    "utf8": {"models": 5, "spelling": "utf8"},
}


def preset(name: str, *, start_ms: int, **changes: Any) -> Workload:
    """Raises `UsageError` for an unknown name."""
    if name not in PRESETS:
        raise UsageError(f"no workload {name!r}. Known are: {', '.join(PRESETS)}.")
    return replace(Workload(start_ms=start_ms), **PRESETS[name], **changes)


def _check(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise UsageError(f"workload: {name} is {value:g}, allowed are {low:g} to {high:g}.")
