"""Recomputes an aggregator's columns from all values of its window, without the engine's code. Sums
of floats are compared within rounding, sketches within their declared error."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, cast

from streams.engine.aggregates.aggregate import Aggregate
from streams.engine.aggregates.distinct import Distinct
from streams.engine.aggregates.ends import First, Last
from streams.engine.aggregates.extremes import Max, Min
from streams.engine.aggregates.moments import Mean, Variance
from streams.engine.aggregates.quantiles import Quantiles
from streams.engine.aggregates.sums import Count, Sum
from streams.engine.aggregates.top_k import TopK

ROUNDING: Final = 1e-9
"""Relative to the sum of magnitudes."""
_EXACT_DISTINCT: Final = 256
_STANDARD_ERRORS: Final = 7
"""A right estimate lies beyond this once in 10^11 windows."""
_TEXT_TOLD_APART: Final = 200
_SMALLEST, _GREATEST = 1e-12, 1e18


class Members(NamedTuple):
    """Records of one window in log order: event times, and values of one field."""

    times_ms: Sequence[int]
    values: Sequence[Any]

    def present(self) -> list[Any]:
        return [value for value in self.values if value is not None]


Shown: TypeAlias = Sequence[Any]
"""The columns of one aggregator in a row."""
_Judge: TypeAlias = Callable[[Any, Members, Shown], object | None]


def expected_of(aggregate: Aggregate, members: Members, shown: Shown) -> object | None:
    """The correct value if ``shown`` is wrong, else None. Raises `KeyError` for an app's own
    aggregator."""
    return _JUDGES[type(aggregate)](aggregate, members, shown)


def is_known(aggregate: Aggregate) -> bool:
    return type(aggregate) in _JUDGES


def _exactly(work_out: Callable[[Any, Members], Any]) -> _Judge:
    def judge(aggregate: Aggregate, members: Members, shown: Shown) -> object | None:
        wanted = work_out(aggregate, members)
        return None if _same(wanted, shown[0]) else _told(wanted)

    return judge


def _same(wanted: Any, found: Any) -> bool:
    return wanted == found if None not in (wanted, found) else wanted is found


def _told(wanted: Any) -> object:
    return "null" if wanted is None else wanted


def _count(_: Aggregate, members: Members) -> int:
    return len(members.values)


def _ends(latest: bool) -> Callable[[Aggregate, Members], Any]:
    def work_out(_: Aggregate, members: Members) -> Any:
        places = [
            (time_ms, row)
            for row, (time_ms, value) in enumerate(zip(*members, strict=True))
            if value is not None
        ]
        pick = max if latest else min
        return members.values[pick(places)[1]] if places else None

    return work_out


def _extreme(pick: Callable[..., Any]) -> Callable[[Aggregate, Members], Any]:
    def work_out(_: Aggregate, members: Members) -> Any:
        return pick(members.present(), default=None)

    return work_out


def _near(
    work_out: Callable[[Any, Sequence[float]], tuple[float, float]],
) -> _Judge:
    def judge(aggregate: Aggregate, members: Members, shown: Shown) -> object | None:
        values, found = members.present(), shown[0]
        if not values or found is None:
            return (
                None if not values and found is None else _told(None if not values else "a number")
            )
        wanted, tolerance = work_out(aggregate, values)
        if not math.isfinite(wanted) or not math.isfinite(tolerance):
            return None  # an overflow: infinity or NaN, depending on the order
        return None if abs(found - wanted) <= tolerance else wanted

    return judge


def _sum(_: Aggregate, values: Sequence[float]) -> tuple[float, float]:
    if all(type(value) is not float for value in values):
        return float(sum(values)), 0.0
    return _added(values), ROUNDING * _added([*map(abs, values)])


def _added(values: Sequence[float]) -> float:
    try:
        return math.fsum(values)
    except OverflowError:
        return math.inf


def _mean(_: Aggregate, values: Sequence[float]) -> tuple[float, float]:
    return _added(values) / len(values), ROUNDING * float(max(map(abs, values)))


def _variance(aggregate: Variance, values: Sequence[float]) -> tuple[float, float]:
    mean, _ = _mean(aggregate, values)
    squares = _added([_squared(value - mean) for value in values])
    spread = _squared(float(max(values)) - float(min(values)))
    return squares / max(len(values) - aggregate.sample, 1), ROUNDING * spread


def _squared(value: float) -> float:
    try:
        return value * value
    except OverflowError:
        return math.inf


def _quantiles(aggregate: Quantiles, members: Members, shown: Shown) -> object | None:
    values = sorted(members.present())
    if not values:
        return None if all(one is None for one in shown) else "null"
    wanted = [float(values[math.floor(rank * (len(values) - 1))]) for rank in aggregate.at]
    near = all(
        found is not None and _is_near(aggregate.error, one, found)
        for one, found in zip(wanted, shown, strict=True)
    )
    return None if near else wanted


def _is_near(error: float, wanted: float, found: float) -> bool:
    clipped = math.copysign(min(abs(wanted), _GREATEST), wanted)
    return abs(found - clipped) <= error * abs(clipped) * (1 + ROUNDING) + _SMALLEST


def _distinct(aggregate: Distinct, members: Members, shown: Shown) -> object | None:
    wanted, found = len({*members.present()}), shown[0]
    allowed = 0.0 if wanted <= _EXACT_DISTINCT else _STANDARD_ERRORS * aggregate.error * wanted
    return None if abs(found - wanted) <= allowed else wanted


def _top(aggregate: TopK, members: Members, shown: Shown) -> object | None:
    texts = [_text(value)[:_TEXT_TOLD_APART] for value in members.present()]
    counts = Counter(texts)
    found = dict(zip(*shown, strict=True))
    ranked = sorted(counts.items(), key=lambda one: (-one[1], one[0]))[: aggregate.k]
    if len(counts) <= aggregate.capacity:
        return None if [*found.items()] == ranked else ranked
    above = len(texts) / aggregate.capacity
    right = len(found) == min(aggregate.k, len(counts)) and all(
        counts[text] <= count <= counts[text] + above for text, count in found.items()
    )
    least = min(found.values(), default=0)
    missed = any(count > least for text, count in counts.items() if text not in found)
    return None if right and not missed else ranked


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


_JUDGES: Final[Mapping[type[Aggregate], _Judge]] = cast(
    "Mapping[type[Aggregate], _Judge]",
    {
        Count: _exactly(_count),
        Sum: _near(_sum),
        Mean: _near(_mean),
        Variance: _near(_variance),
        Min: _exactly(_extreme(min)),
        Max: _exactly(_extreme(max)),
        First: _exactly(_ends(latest=False)),
        Last: _exactly(_ends(latest=True)),
        Quantiles: _quantiles,
        Distinct: _distinct,
        TopK: _top,
    },
)
