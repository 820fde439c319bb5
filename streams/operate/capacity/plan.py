"""What a grown load needs: measured costs, times growth, times a margin. No constant of another machine."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from streams.core.errors import UsageError
from streams.operate.capacity.measured import MeasuredCosts
from streams.operate.shards.tiers import Tier, tier_of

MARGIN: Final = 1.5
"""for load that no forecast sees, and for catching up after a restart"""
BUSY: Final = 0.7
"""share of its processor that a worker process uses at the planned peak"""
REPLICAS_MIN: Final = 3
"""the chart's ``autoscaling.minReplicas``: Kubernetes refuses a smaller ``maxReplicas``"""
MEMORY_ROOM: Final = 1.25
"""of a pod's memory request over the largest process that was seen"""
FACTOR_MAX: Final = 1e9
_MONTH_DAYS: Final = 30.0
_MIB: Final = 1 << 20
_MEMORY_STEP: Final = 64
_GROWTH = re.compile(r"(?:(?P<times>\d+(?:\.\d+)?)x|(?P<percent>\d+(?:\.\d+)?)%)")


@dataclass(frozen=True, slots=True)
class Growth:
    """``times`` at once, then ``monthly`` (0.3: 30 % a month)."""

    times: float = 1.0
    monthly: float = 0.0

    @classmethod
    def of(cls, text: str) -> Growth:
        """Of ``10x`` (at once) or ``30%`` (a month). Raises `UsageError`."""
        found = _GROWTH.fullmatch(text.strip())
        if found is None or (found["times"] is not None and float(found["times"]) <= 0):
            raise UsageError(f'Invalid --growth "{text}": use 10x for at once, or 30% for a month.')
        if found["times"] is not None:
            return cls(times=float(found["times"]))
        return cls(monthly=float(found["percent"]) / 100)

    def factor(self, days: float) -> float:
        """After ``days``. Raises `UsageError` above `FACTOR_MAX`."""
        months = days / _MONTH_DAYS
        if math.log(self.times) + months * math.log1p(self.monthly) > math.log(FACTOR_MAX):
            raise UsageError(
                f"--growth: the load at the horizon is more than {FACTOR_MAX:.0e} times that of now. Choose "
                "a smaller growth or a shorter --horizon."
            )
        return self.times * math.pow(1 + self.monthly, months)

    def days_until(self, factor: float) -> float | None:
        """Days until the load is ``factor`` times that of now; None: never, by this growth."""
        if self.times >= factor:
            return 0.0
        if not self.monthly:
            return None
        return _MONTH_DAYS * math.log(factor / self.times) / math.log1p(self.monthly)

    def load_days(self, days: float) -> float:
        """Days of the load of now that ``days`` of this growth are."""
        rate = self._daily
        return self.times * (math.expm1(rate * days) / rate if rate else days)

    def days_of(self, load_days: float) -> float:
        """The days in which the load is ``load_days`` of that of now."""
        rate, amount = self._daily, load_days / self.times
        return math.log1p(rate * amount) / rate if rate else amount

    @property
    def _daily(self) -> float:
        """The exponent of a day's growth."""
        return math.log1p(self.monthly) / _MONTH_DAYS


@dataclass(frozen=True, slots=True)
class ResourceNeed:
    """``have`` None: not known here. ``days_left``: until ``have`` is used up; None: not within the
    growth, or not known."""

    resource: str
    now: float
    needed: float
    have: float | None
    days_left: float | None


@dataclass(frozen=True, slots=True)
class CapacityPlan:
    """``processes_now``: that the load of now needs, with the margin; ``processes``: at the horizon.
    ``per_process``: events a second that one holds. ``memory_bytes``: of the largest one."""

    needs: tuple[ResourceNeed, ...]
    processes_now: int
    processes: int
    per_process: float
    memory_bytes: int
    partitions: Mapping[str, int]
    """of each topic that needs more than it has"""
    tier: Tier

    def helm_values(self, named: Mapping[str, int]) -> dict[str, Any]:
        """Values of the chart, one process a pod. ``named``: partitions that the settings name, which
        stay: Helm replaces the whole text."""
        steps = math.ceil(self.memory_bytes * MEMORY_ROOM / _MIB / _MEMORY_STEP)
        mib = max(steps, 1) * _MEMORY_STEP
        values: dict[str, Any] = {
            "autoscaling": {
                "maxReplicas": max(self.processes, REPLICAS_MIN),
                "lag": {"predicted": {"eventsPerWorker": max(1, int(self.per_process))}},
            },
            "resources": {
                "requests": {"memory": f"{mib}Mi"},
                "limits": {"memory": f"{2 * mib}Mi"},
            },
        }
        if self.partitions:
            wanted = {**named, **self.partitions}
            text = ",".join(f"{topic}={count}" for topic, count in wanted.items())
            values["config"] = {"topic_partitions": text}
        return values


def capacity_plan(
    costs: MeasuredCosts,
    growth: Growth,
    horizon_days: float,
    partitions: Mapping[str, int],
    retention_s: Mapping[str, float | None],
    margin: float = MARGIN,
) -> CapacityPlan:
    """``partitions`` and ``retention_s``: of each source topic, as it is; None: kept for ever."""
    factor = growth.factor(horizon_days)
    per_process = BUSY / costs.cpu_s_per_event
    peak = costs.peak_per_s * margin

    def processes(times: float) -> int:
        return max(1, math.ceil(peak * times / per_process))

    wanted = processes(factor)
    busiest = max(costs.topics, key=lambda topic: costs.topics[topic].peak_per_s)
    have = partitions.get(busiest)
    days = None if have is None else growth.days_until(have * per_process / peak)
    bounded, for_ever = _kafka_bytes(costs, retention_s)
    mean_per_s = sum(one.mean_per_s for one in costs.topics.values())
    per_day, peak_now = 86_400 * mean_per_s * costs.disk_bytes_per_event, costs.peak_per_s
    tier_now, tier = (tier_of(int(86_400 * mean_per_s * times)) for times in (1.0, factor))
    processors = peak_now * costs.cpu_s_per_event
    needs = (
        ResourceNeed("events a second, busiest", peak_now, peak_now * factor, None, None),
        ResourceNeed("processors at the peak", processors, processors * factor, None, None),
        ResourceNeed("worker processes", processes(1.0), wanted, float(costs.processes), None),
        ResourceNeed(f"partitions of {busiest}", processes(1.0), wanted, have, days),
        ResourceNeed("memory of workers, bytes", costs.processes * costs.memory_bytes,
             wanted * costs.memory_bytes, None, None),
        ResourceNeed("kafka bytes of one copy", bounded, bounded * factor, None, None),
        *([ResourceNeed("kafka bytes a day of one copy, kept for ever", for_ever, for_ever * factor,
              None, None)] if for_ever else []),
        ResourceNeed("clickhouse shards", tier_now.shards, tier.shards, costs.shards, None),
        ResourceNeed("clickhouse replicas of a shard", tier_now.replicas, tier.replicas, None, None),
        ResourceNeed("clickhouse bytes a day", per_day, per_day * factor, None, None),
        ResourceNeed("bytes of ClickHouse's disks", per_day * horizon_days,
             per_day * growth.load_days(horizon_days), costs.disk_free_bytes,
             growth.days_of(costs.disk_free_bytes / per_day) if per_day else None),
    )  # fmt: skip
    more = {busiest: wanted} if have is not None and wanted > have else {}
    return CapacityPlan(needs, processes(1.0), wanted, per_process, costs.memory_bytes, more, tier)


def _kafka_bytes(
    costs: MeasuredCosts, retention_s: Mapping[str, float | None]
) -> tuple[float, float]:
    """Bytes of one copy that topics hold by their retention, and bytes a day of topics without one."""
    bounded = for_ever = 0.0
    for topic, load in costs.topics.items():
        per_s, kept_s = load.mean_per_s * load.bytes_per_event, retention_s.get(topic, 0.0)
        if kept_s is None:
            for_ever += 86_400 * per_s
        else:
            bounded += per_s * kept_s
    return bounded, for_ever
