"""`replay_metrics`: compares the tenant's last minutes with a changed version of them.

Each value v of the metric becomes ``scale * v + shift``. Values come from the windows' sketches, so
quantiles err by at most 1 % (means do not). Intervals are bootstrapped over whole minutes, since
values within a minute depend on one another: each trial draws as many minutes as there were, with
replacement (Efron and Tibshirani 1993, ch. 13).
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from streams.core.job_refusals import InvalidParameters
from streams.engine.agents.queue_policy import QueuePolicy
from streams.engine.scenarios.history import MINUTES_MAX, History
from streams.engine.scenarios.scenario import HistoryQuery, Run, Scenario
from streams.engine.windows.minutes import sketch_code

TRIALS_MAX = 100_000
_LEVELS = (0.5, 0.95, 0.99)
_BLOCK_CELLS = 1 << 20


class ReplayMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """``bound`` asks for the share of values above it; ``minutes`` end with the request's ``ts``."""

    metric: Annotated[str, Meta(min_length=1, max_length=128)]
    minutes: Annotated[int, Meta(ge=1, le=MINUTES_MAX)] = 60
    scale: Annotated[float, Meta(ge=-1e6, le=1e6)] = 1.0
    shift: Annotated[float, Meta(ge=-1e12, le=1e12)] = 0.0
    bound: Annotated[float, Meta(ge=-1e150, le=1e150)] | None = None


def simulate(run: Run[ReplayMetrics]) -> dict[str, Any]:
    """``before`` and ``after``: count, mean, quantiles and share above the bound, with
    intervals."""
    asked, history = run.parameters, run.history
    if run.trials > TRIALS_MAX:
        raise InvalidParameters(
            f"trials is {run.trials}, replay_metrics takes at most {TRIALS_MAX}."
        )
    if history is None or not len(history):
        raise InvalidParameters(
            f"there is no value of metric {asked.metric!r} in the last {asked.minutes} minutes."
        )
    values, weights = _values(history)
    resampled = _resampled(run.rng, run.trials, len(history))
    before = _world(history, values, weights, resampled, 1.0, 0.0, asked.bound)
    after = _world(history, values, weights, resampled, asked.scale, asked.shift, asked.bound)
    return {
        "trials": run.trials,
        "minutes": len(history),
        "first_minute_s": history.start_s[0],
        "last_minute_s": history.start_s[-1],
        "before": before,
        "after": after,
    }


def _values(history: History) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    sketch = history.sketch()
    return sketch_code.decode(sketch.codes), sketch.weights


def _resampled(rng: np.random.Generator, trials: int, minutes: int) -> NDArray[np.float64]:
    """How often each trial drew each minute: (trials, minutes), with fewer trials if memory would
    not suffice."""
    rows = max(1, min(trials, 64 * _BLOCK_CELLS // minutes))
    return rng.multinomial(minutes, np.full(minutes, 1 / minutes), rows).astype(np.float64)


def _world(
    history: History,
    values: NDArray[np.float64],
    weights: NDArray[np.float64],
    resampled: NDArray[np.float64],
    scale: float,
    shift: float,
    bound: float | None,
) -> dict[str, Any]:
    counts = np.array(history.counts_n, np.float64)
    sums = scale * np.array(history.sums) + shift * counts
    moved = scale * values + shift
    total = counts.sum()
    world: dict[str, Any] = {
        "count": int(total),
        **_ratio("mean", sums, counts, resampled),
        "quantiles": _quantiles(moved, weights.sum(axis=0)),
    }
    if bound is not None:
        above = weights @ (moved > bound).astype(np.float64)
        world["above"] = {"bound": bound, **_ratio("share", above, counts, resampled)}
    return world


def _ratio(
    name: str,
    upper: NDArray[np.float64],
    lower: NDArray[np.float64],
    resampled: NDArray[np.float64],
) -> dict[str, float]:
    """Sum over sum, and its bootstrap percentile interval of 95 %."""
    tried = (resampled @ upper) / (resampled @ lower)
    low, high = np.quantile(tried, (0.025, 0.975))
    return {
        name: float(upper.sum() / lower.sum()),
        f"{name}_low": float(low),
        f"{name}_high": float(high),
    }


def _quantiles(values: NDArray[np.float64], counts: NDArray[np.float64]) -> list[dict[str, float]]:
    order = np.argsort(values)
    cumulated = np.cumsum(counts[order])
    ranks = np.ceil(np.array(_LEVELS) * cumulated[-1])
    found = values[order][np.searchsorted(cumulated, ranks)]
    return [
        {"level": level, "value": float(value)} for level, value in zip(_LEVELS, found, strict=True)
    ]


def _history(parameters: ReplayMetrics) -> HistoryQuery:
    return HistoryQuery(metric=parameters.metric, minutes=parameters.minutes)


REPLAY_METRICS = Scenario(
    name="replay_metrics",
    parameters=ReplayMetrics,
    run=simulate,
    history=_history,
    queue=QueuePolicy(timeout_s=20.0, concurrency=4),
)
