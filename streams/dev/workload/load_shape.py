"""A made-up load of some weeks: hours of the day, days of the week, growth, noise, an outage, a launch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SLOTS_PER_DAY = 288


@dataclass(frozen=True, slots=True)
class LoadShape:
    """Events of each five minutes. ``outage`` and ``launch``: (day, hour); None: none."""

    seed: int
    days: int = 28
    mean_per_s: float = 400.0
    daily: float = 0.55
    """of the mean, from the mean to the busiest hour"""
    weekend: float = 0.45
    """by how much a Saturday or Sunday is quieter"""
    growth_per_day: float = 0.008
    noise: float = 0.08
    drift: float = 0.01
    """of a slow random walk, a slot"""
    outage: tuple[int, float] | None = (11, 9.0)
    outage_hours: float = 5.0
    launch: tuple[int, float] | None = (19, 14.0)
    launch_gain: float = 0.3

    def slots(self) -> NDArray[np.int64]:
        rng = np.random.default_rng(self.seed)
        at = np.arange(self.days * SLOTS_PER_DAY)
        hour, day = at / 12 % 24, at // SLOTS_PER_DAY
        phase = 2 * np.pi * (hour - 14.5 + rng.normal(0, 0.5)) / 24
        busy = 1 + self.daily * (np.cos(phase) + 0.25 * np.cos(2 * phase + 0.6))
        quiet = np.where(day % 7 >= 5, 1 - self.weekend, 1.0)
        growth = (1 + self.growth_per_day) ** (at / SLOTS_PER_DAY)
        walk = np.zeros(len(at))
        shocks = rng.normal(0, self.drift, len(at))
        for slot in range(1, len(at)):
            walk[slot] = 0.97 * walk[slot - 1] + shocks[slot]
        noisy = np.exp(rng.normal(0, self.noise, len(at)) + walk)
        load = self.mean_per_s * 300 * np.maximum(0.05, busy) * quiet * growth * noisy
        if self.launch is not None:
            load[at >= self._slot(self.launch)] *= 1 + self.launch_gain
        if self.outage is not None:
            first = self._slot(self.outage)
            load[first : first + round(self.outage_hours * 12)] = 0
        return rng.poisson(load).astype(np.int64)

    @staticmethod
    def _slot(moment: tuple[int, float]) -> int:
        return round(moment[0] * SLOTS_PER_DAY + moment[1] * 12)


def hourly(slots: NDArray[np.int64]) -> NDArray[np.float64]:
    hours: NDArray[np.float64] = slots.reshape(-1, 12).sum(axis=1).astype(np.float64)
    return hours
