"""Forecast of an hourly load: growth, hours of the day and of the week, and a band.

The logarithm of the load is a robust regression (Huber's M-estimator) on a line, steps, and Fourier
terms of a week or a day; what is left decays from the last hours (a first-order autoregression).
Hours far below the pattern, as in an outage, do not count. A lasting change of level, as at a launch,
becomes a step. Bands come from the errors of forecasts of days that were held out.

Source of the decomposition: R. J. Hyndman, G. Athanasopoulos, Forecasting: Principles and Practice,
3rd edition, chapters 10.5 (dynamic harmonic regression) and 13.1; of the bands: chapter 13.5 and
V. Vovk et al., Algorithmic Learning in a Random World, 2005 (conformal quantiles).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streams.core.command_errors import HistoryTooShort
from streams.core.errors import UsageError

Floats = NDArray[np.float64]

DAY: Final = 24
WEEK: Final = 168
DAILY_FROM: Final = 3 * DAY
WEEKLY_FROM: Final = 15 * DAY
HELD_OUT_MAX: Final = 14
"""days that are forecast from what was before them, to learn the error"""
_STEPS_MAX: Final = 3
_STEP_SPAN: Final = DAY
_STEP_ORDER: Final = 14
_STEP_EVERY: Final = 2
"""hours between the places that are tried"""
_STEP_MIN: Final = 0.12
"""of the logarithm: a smaller change of level is left to the regression"""
_OUTLIER: Final = 6.0
"""standard deviations, robustly estimated"""
_DECAY_MAX: Final = 0.98
_ROUNDS: Final = 6
"""of reweighting: later ones change the forecast by less than its error"""
_FALLBACK: Final = 2.0
"""factor between the load and each end of the band where no day could be held out"""


@dataclass(frozen=True, slots=True)
class Forecast:
    """Load of each hour from the end of the history on, in events. ``seasons``: "none", "daily" or
    "weekly". ``tested_days``: held-out days behind the band; 0: it is a guess of a factor of two."""

    expected: Floats
    low: Floats
    high: Floats
    level: float
    """share of hours that the band claims to hold"""
    seasons: str
    tested_days: int


@dataclass(frozen=True, slots=True)
class HeldOutDay:
    """A held-out day. Errors are sums of absolute errors over the sum of the load, None for a day
    without load. ``last_week``: of the same hours a week before. ``inside``: share of its hours in
    a band made of the days before it; None where there are fewer than three."""

    first_hour: int
    """its place in the history"""
    error: float | None
    last_week: float | None
    inside: float | None


def forecast(load: Floats, hours: int, level: float = 0.9) -> Forecast:
    """Of ``hours`` hours after ``load``, events of consecutive hours of UTC. ``level``: of the
    band. Raises `HistoryTooShort` below a day, and `UsageError` without the extra ``capacity``."""
    if len(load) < DAY:
        raise HistoryTooShort(
            f"the history has {len(load)} whole hours of load; a forecast needs {DAY} at least, the "
            f"hours of the day from {DAILY_FROM // DAY} days on, and days of the week from "
            f"{WEEKLY_FROM // DAY} days on. Leave the workers running, and ask again."
        )
    ratios = _held_out_ratios(load)
    expected = _extrapolated(load, hours)
    low, high = _band(ratios, level) if len(ratios) else (1 / _FALLBACK, _FALLBACK)
    return Forecast(
        expected=expected,
        low=expected * low,
        high=expected * high,
        level=level,
        seasons=seasons_of(load),
        tested_days=len(ratios),
    )


def held_out_days(load: Floats, level: float = 0.9, days: int = HELD_OUT_MAX) -> list[HeldOutDay]:
    """The last days, each forecast from the hours before it."""
    found, ratios = [], list[Floats]()
    for first in _held_out(load, days):
        actual, expected = load[first : first + DAY], _extrapolated(load[:first], DAY)
        inside = None
        if len(ratios) >= 3:
            low, high = _band(ratios, level)
            inside = float(((actual >= expected * low) & (actual <= expected * high)).mean())
        week_before = load[first - WEEK : first - WEEK + DAY] if first >= WEEK else None
        found.append(
            HeldOutDay(
                first,
                _error(actual, expected),
                None if week_before is None else _error(actual, week_before),
                inside,
            )
        )
        ratios.append(_ratios(actual, expected))
    return found


def seasons_of(load: Floats) -> str:
    """What a history of this length shows."""
    if len(load) >= WEEKLY_FROM:
        return "weekly"
    return "daily" if len(load) >= DAILY_FROM else "none"


def _held_out(load: Floats, days: int = HELD_OUT_MAX) -> list[int]:
    """First hours of the last whole days that have a history of the same seasons, or at least a
    daily one, before them."""
    least = WEEKLY_FROM if len(load) >= WEEKLY_FROM + DAY else DAILY_FROM
    count = min(days, (len(load) - least) // DAY)
    return [len(load) - DAY * back for back in range(count, 0, -1)]


def _held_out_ratios(load: Floats) -> list[Floats]:
    return [
        _ratios(load[first : first + DAY], _extrapolated(load[:first], DAY))
        for first in _held_out(load)
    ]


def _ratios(actual: Floats, expected: Floats) -> Floats:
    """Logarithms of load over forecast, of the hours that are to have some."""
    due = expected > 0 if expected.any() else np.ones(len(expected), np.bool_)
    found: Floats = np.log1p(actual[due]) - np.log1p(expected[due])
    return found


def _band(ratios: list[Floats], level: float) -> tuple[float, float]:
    """Factors of the forecast. The hours of a day err together, so days are the units: of each day
    the quantiles that hold ``level`` of its hours, and of those the conformal rank over days. Where
    days are too few for the rank, the band is wider by 1 + 3 / days."""
    tail = (1 - level) / 2
    days = len(ratios)
    rank = int(np.ceil(level * (days + 1))) - 1
    wider = 1 + 3 / days if rank >= days else 1.0
    rank = min(days - 1, rank)
    below = sorted((float(np.quantile(day, tail)) for day in ratios), reverse=True)[rank]
    above = sorted(float(np.quantile(day, 1 - tail)) for day in ratios)[rank]
    return float(np.exp(wider * min(0.0, below))), float(np.exp(wider * max(0.0, above)))


def _error(actual: Floats, expected: Floats) -> float | None:
    total = float(actual.sum())
    return float(np.abs(actual - expected).sum()) / total if total else None


def _extrapolated(load: Floats, hours: int) -> Floats:
    seasons = seasons_of(load)
    silent = _silent(load, WEEK if seasons == "weekly" else DAY)
    at = np.arange(len(load) + hours)
    known = (load > 0) & ~silent[at[: len(load)] % len(silent)]
    if seasons == "none" or known.sum() < DAY:
        return np.full(hours, load.mean())
    with _one_thread():
        ahead = _regressed(np.log1p(load), known, hours, seasons)
    # A line through a few noisy days must not run away.
    ahead = np.clip(ahead, 0.0, np.log1p(load.max()) + 1.0)
    return np.where(silent[at[len(load) :] % len(silent)], 0.0, np.expm1(ahead))


def _silent(load: Floats, period: int) -> NDArray[np.bool_]:
    """Places of a period that usually have no load: another hour without load is an outage."""
    at = np.arange(len(load)) % period
    return np.array([np.median(load[at == place]) == 0 for place in range(min(period, len(load)))])


def _regressed(logs: Floats, known: NDArray[np.bool_], hours: int, seasons: str) -> Floats:
    count = len(logs)
    steps = _steps(logs, known, seasons)
    columns = _columns(np.arange(count + hours), count, seasons, steps)
    fitted = _fitted(columns[:count], logs, known)
    errors = logs - columns[:count] @ fitted
    good = known & (np.abs(errors - np.median(errors[known])) <= _OUTLIER * _spread(errors[known]))
    last = errors[-3:][good[-3:]]
    rest = (last.mean() if len(last) else 0.0) * _decay(errors, good) ** np.arange(1, hours + 1)
    ahead: Floats = columns[count:] @ fitted + rest
    return ahead


def _columns(
    at: NDArray[np.int64], count: int, seasons: str, steps: list[int], order: int = 0
) -> Floats:
    """Regressors of the hours ``at`` of a history of ``count`` hours. ``order``: of the Fourier
    terms; 0: what the seasons need."""
    period = WEEK if seasons == "weekly" else DAY
    order = order or (6 if seasons == "daily" else 28)
    angle = 2 * np.pi * at[:, None] / period * np.arange(1, order + 1)
    parts = [np.ones((len(at), 1)), np.sin(angle), np.cos(angle)]
    if count >= 2 * WEEK:
        parts.append(at[:, None] / WEEK)
    parts += [(at >= step).astype(np.float64)[:, None] for step in steps]
    return np.concatenate(parts, axis=1)


def _fitted(columns: Floats, logs: Floats, known: NDArray[np.bool_]) -> Floats:
    models = _library()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an iteration limit reached is good enough for a forecast
        fitted = models.RLM(logs[known], columns[known], M=models.robust.norms.HuberT()).fit(
            maxiter=_ROUNDS
        )
    found: Floats = np.asarray(fitted.params, np.float64)
    return found


def _steps(logs: Floats, known: NDArray[np.bool_], seasons: str) -> list[int]:
    """Hours at which the level changed for good, the largest change first."""
    found: list[int] = []
    if seasons != "weekly":
        return found
    for _ in range(_STEPS_MAX):
        columns = _columns(np.arange(len(logs)), len(logs), seasons, found, _STEP_ORDER)
        errors = logs - columns @ _fitted(columns, logs, known)
        at, change = _largest_change(errors, known)
        if abs(change) < max(_STEP_MIN, 3 * _spread(errors[known])):
            break
        found.append(at)
    return found


def _largest_change(errors: Floats, known: NDArray[np.bool_]) -> tuple[int, float]:
    """Where the medians of the days before and after differ most. An outage of less than half a day
    moves no median."""
    values = np.where(known, errors, np.nan)
    best, largest = 0, 0.0
    for at in range(2 * _STEP_SPAN, len(values) - _STEP_SPAN + 1, _STEP_EVERY):
        before, after = values[at - 2 * _STEP_SPAN : at], values[at : at + 2 * _STEP_SPAN]
        if np.isfinite(before).sum() < DAY // 2 or np.isfinite(after).sum() < DAY // 2:
            continue
        change = float(np.nanmedian(after) - np.nanmedian(before))
        if abs(change) > abs(largest):
            best, largest = at, change
    return best, largest


def _spread(errors: Floats) -> float:
    """Standard deviation, from the median absolute deviation."""
    return max(1e-6, 1.4826 * float(np.median(np.abs(errors - np.median(errors)))))


def _decay(errors: Floats, good: NDArray[np.bool_]) -> float:
    pairs = good[1:] & good[:-1]
    before, after = errors[:-1][pairs], errors[1:][pairs]
    power = float((before**2).sum())
    return min(_DECAY_MAX, max(0.0, float((before * after).sum()) / power)) if power else 0.0


def _one_thread() -> Any:
    """The matrices are small: threads of BLAS would cost ten times the processor time."""
    _library()
    import threadpoolctl  # noqa: PLC0415 - of the same extra

    return threadpoolctl.threadpool_limits(1)


def _library() -> Any:
    try:
        import statsmodels.api  # noqa: PLC0415 - only a forecast needs it, and it takes a second
    except ModuleNotFoundError as error:
        raise UsageError(
            "forecasts need the extra `capacity`, which is not installed. Run `pip install "
            "'dia-streams[capacity]'`."
        ) from error
    return statsmodels.api
