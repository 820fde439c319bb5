"""`monte_carlo`: an arithmetic outcome of random variables, over many trials.

Trials are drawn in blocks that fit a processor's cache: the correlated variables in the order of
the matrix, then the others by name. This order and the block size determine the result of a seed.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from streams.core.job_refusals import InvalidParameters
from streams.engine.agents.queue_policy import QueuePolicy
from streams.engine.scenarios import estimates
from streams.engine.scenarios.distribution import Distribution
from streams.engine.scenarios.expression import Expression
from streams.engine.scenarios.scenario import TRIALS_MAX, Run, Scenario

BLOCK_TRIALS = 1 << 14
_VARIABLES_MAX = 50

_VariableName: TypeAlias = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,31}$")]


class Correlation(msgspec.Struct, frozen=True, kw_only=True):
    """``matrix[i][j]`` is the correlation of the normals behind variables i and j: exactly that
    of two normal variables, and the rank correlation's sine transform of any others."""

    variables: Annotated[list[_VariableName], Meta(min_length=2, max_length=_VARIABLES_MAX)]
    matrix: Annotated[
        list[list[Annotated[float, Meta(ge=-1, le=1)]]], Meta(max_length=_VARIABLES_MAX)
    ]


class MonteCarlo(msgspec.Struct, frozen=True, kw_only=True):
    """``outcome`` is an arithmetic expression of the variables; ``bounds`` are values whose
    probability of being exceeded is asked for."""

    variables: Annotated[
        dict[_VariableName, Distribution], Meta(min_length=1, max_length=_VARIABLES_MAX)
    ]
    outcome: Annotated[str, Meta(min_length=1, max_length=1000)]
    correlation: Correlation | None = None
    quantiles: Annotated[
        tuple[Annotated[float, Meta(gt=0, lt=1)], ...], Meta(min_length=1, max_length=50)
    ] = (0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
    bounds: Annotated[tuple[float, ...], Meta(max_length=50)] = ()


def simulate(run: Run[MonteCarlo]) -> dict[str, Any]:
    """Mean, standard deviation, quantiles and probabilities of the outcome."""
    asked = run.parameters
    if run.trials > TRIALS_MAX:
        raise InvalidParameters(f"trials is {run.trials}, monte_carlo takes at most {TRIALS_MAX}.")
    outcome = Expression(asked.outcome, list(asked.variables))
    drawn = _Draws(asked, outcome.used)
    values = np.empty(run.trials)
    for begin in range(0, run.trials, BLOCK_TRIALS):
        block = values[begin : begin + BLOCK_TRIALS]
        block[:] = outcome(drawn.block(run.rng, len(block)), len(block))
    bad = run.trials - int(np.count_nonzero(np.isfinite(values)))
    if bad:
        raise InvalidParameters(
            f"the outcome of {bad} of {run.trials} trials is not a finite number: {asked.outcome}"
        )
    with np.errstate(over="ignore"):
        summary = estimates.mean(values)
    if not np.isfinite(summary["sd"]):
        raise InvalidParameters("the outcomes are too large: their variance is beyond a double.")
    values.sort()
    summary["quantiles"] = estimates.quantiles(values, sorted(asked.quantiles))
    summary["exceedance"] = [_exceeded(values, bound) for bound in asked.bounds]
    return {"trials": run.trials, **summary, "min": float(values[0]), "max": float(values[-1])}


def _exceeded(ascending: NDArray[np.float64], bound: float) -> dict[str, float]:
    above = len(ascending) - int(np.searchsorted(ascending, bound, side="right"))
    return {"bound": bound, **estimates.share(above, len(ascending))}


class _Draws:
    def __init__(self, asked: MonteCarlo, used: frozenset[str]) -> None:
        names: list[str] = []
        if asked.correlation is not None:
            names, self._factor = _factor(asked.correlation, asked.variables)
        self._joint = [(name, asked.variables[name]) for name in names]
        self._alone = [
            (name, variable)
            for name, variable in sorted(asked.variables.items())
            if name in used and name not in names
        ]

    def block(self, rng: np.random.Generator, rows: int) -> dict[str, NDArray[np.float64]]:
        columns: dict[str, NDArray[np.float64]] = {}
        if self._joint:
            normals = self._factor @ rng.standard_normal((len(self._joint), rows))
            for (name, variable), z in zip(self._joint, normals, strict=True):
                columns[name] = variable.of_normal(z)
        for name, variable in self._alone:
            columns[name] = variable.draw(rng, rows)
        return columns


def _factor(
    correlation: Correlation, variables: dict[str, Distribution]
) -> tuple[list[str], NDArray[np.float64]]:
    """The Cholesky factor of the matrix. Raises `InvalidParameters` if it is no correlation."""
    names, size = correlation.variables, len(correlation.variables)
    if len(set(names)) < size or not set(names) <= variables.keys():
        raise InvalidParameters("correlation.variables must name declared variables, each once.")
    if [len(row) for row in correlation.matrix] != [size] * size:
        raise InvalidParameters(f"correlation.matrix must have {size} rows of {size} numbers.")
    matrix = np.array(correlation.matrix)
    if not np.array_equal(matrix, matrix.T) or not np.all(matrix.diagonal() == 1):
        raise InvalidParameters("correlation.matrix must be symmetric with ones on its diagonal.")
    try:
        factor: NDArray[np.float64] = np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError as error:
        raise InvalidParameters("correlation.matrix must be positive definite.") from error
    return names, factor


MONTE_CARLO = Scenario(
    name="monte_carlo",
    parameters=MonteCarlo,
    run=simulate,
    queue=QueuePolicy(timeout_s=60.0),
)
