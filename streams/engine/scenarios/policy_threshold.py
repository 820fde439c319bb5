"""`policy_threshold`: the cases that a policy with a minimum score approves, and their result.

A case with score s is approved if s >= threshold. It is bad with probability 1 / (1 + exp(steepness
(s - midpoint))). An approved good case brings ``reward``, an approved bad one costs ``loss``.
Outcomes are expectations given the score, which leaves only the sampling error of the scores
(Rao-Blackwell).
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from streams.core.job_refusals import InvalidParameters
from streams.engine.scenarios import estimates
from streams.engine.scenarios.distribution import Distribution
from streams.engine.scenarios.scenario import TRIALS_MAX, Run, Scenario

_CURVE_SPAN = (0.01, 0.99)
"""thresholds of the curve lie between these quantiles of the scores"""


class Risk(msgspec.Struct, frozen=True, kw_only=True):
    """At score ``midpoint`` half of the cases are bad."""

    midpoint: Annotated[float, Meta(ge=-1e12, le=1e12)]
    steepness: Annotated[float, Meta(gt=0, le=1e6)]


class PolicyThreshold(msgspec.Struct, frozen=True, kw_only=True):
    """``reward`` and ``loss`` are amounts per approved case; ``curve_points`` thresholds are
    tried beside the asked one."""

    score: Distribution
    threshold: Annotated[float, Meta(ge=-1e12, le=1e12)]
    risk: Risk
    reward: Annotated[float, Meta(ge=0, le=1e12)]
    loss: Annotated[float, Meta(ge=0, le=1e12)]
    curve_points: Annotated[int, Meta(ge=2, le=200)] = 21


def simulate(run: Run[PolicyThreshold]) -> dict[str, Any]:
    """Approval rate, expected reward, loss and net per case, and the curve over thresholds."""
    asked, n = run.parameters, run.trials
    if n > TRIALS_MAX:
        raise InvalidParameters(f"trials is {n}, policy_threshold takes at most {TRIALS_MAX}.")
    scores = np.sort(asked.score.draw(run.rng, n))
    with np.errstate(over="ignore"):
        bad = 1 / (1 + np.exp(asked.risk.steepness * (scores - asked.risk.midpoint)))
    first = int(np.searchsorted(scores, asked.threshold))
    rewards, losses = asked.reward * (1 - bad), asked.loss * bad
    rewards[:first] = losses[:first] = 0
    curve = _curve(asked, scores, bad)
    return {
        "trials": n,
        "threshold": asked.threshold,
        "approval_rate": estimates.share(n - first, n),
        "reward": estimates.mean(rewards),
        "loss": estimates.mean(losses),
        "net": estimates.mean(rewards - losses),
        "curve": curve,
        "best": max(curve, key=lambda point: point["net"]),
    }


def _curve(
    asked: PolicyThreshold, scores: NDArray[np.float64], bad: NDArray[np.float64]
) -> list[dict[str, float]]:
    n = len(scores)
    low, high = (float(scores[int(share * (n - 1))]) for share in _CURVE_SPAN)
    thresholds = np.linspace(low, high, asked.curve_points)
    first = np.searchsorted(scores, thresholds)
    # Sums over the approved cases, from the right end of the ascending scores.
    bad_above = np.append(np.cumsum(bad[::-1])[::-1], 0.0)[first]
    approved = n - first
    loss = asked.loss * bad_above / n
    reward = asked.reward * (approved - bad_above) / n
    columns = zip(thresholds, approved / n, reward, loss, reward - loss, strict=True)
    names = ("threshold", "approval_rate", "reward", "loss", "net")
    return [dict(zip(names, map(float, point), strict=True)) for point in columns]


POLICY_THRESHOLD = Scenario(name="policy_threshold", parameters=PolicyThreshold, run=simulate)
