"""When each request of a flow is due: a rate that rises through a ramp and then holds.

The times follow from the file and its seed alone, never from answers (an open loop)."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DUE_MAX: Final = 5_000_000
"""requests of a flow: 40 MB of due times"""


def due_times(
    rate_per_s: float, duration_s: float, ramp_s: float, rng: np.random.Generator | None
) -> Floats:
    """Seconds from the start of the test, ascending, all below ``duration_s``.

    The expected number of requests before t is the integral of the rate: ``rate t^2 / (2 ramp)``
    in the ramp, ``rate (t - ramp / 2)`` behind it. Without ``rng`` request k is due when the integral
    reaches k + 1/2; with it, arrivals are a Poisson process of that rate, as of independent users."""
    expected = expected_requests(rate_per_s, duration_s, ramp_s)
    if rng is None:
        at = np.arange(0.5, expected, 1.0)
    else:
        # the number of arrivals, and their places given the number
        at = np.sort(rng.uniform(0.0, expected, int(rng.poisson(expected))))
    in_ramp = rate_per_s * ramp_s / 2
    due = at / rate_per_s + ramp_s / 2
    early = at < in_ramp
    due[early] = np.sqrt(2 * ramp_s * at[early] / rate_per_s)
    return due


def expected_requests(rate_per_s: float, duration_s: float, ramp_s: float) -> float:
    return rate_per_s * (duration_s - ramp_s / 2)
