"""The decisions of a HorizontalPodAutoscaler (autoscaling/v2) that KEDA makes of a ScaledObject, as Kubernetes
1.37 takes them (pkg/controller/podautoscaler: horizontal.go, replica_calculator.go).

It stands in for KEDA and for Kubernetes' controller: neither runs here. Of a ScaledObject it reads what the
chart writes: bounds, both stabilisation windows, policies of type Percent and Pods, and triggers, each of which
is an external metric with a target of type AverageValue.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

TOLERANCE = 0.1
"""Kubernetes' default: a ratio of usage to target that is nearer to 1 changes nothing."""


class PodChange(NamedTuple):
    """``at_s``: by the clock of the caller."""

    at_s: float
    before: int
    after: int


class _Policy(NamedTuple):
    percent: bool
    value: int
    period_s: float

    def limit(self, start: int, sign: int) -> int:
        """Pods that it allows of ``start`` at the begin of its period. A share of a pod is rounded to more
        change."""
        if not self.percent:
            return start + sign * self.value
        share = start * (1 + sign * self.value / 100)
        return math.ceil(share) if sign > 0 else int(share)


@dataclass(frozen=True)
class _Rules:
    window_s: float
    policies: tuple[_Policy, ...]

    @classmethod
    def of(cls, rules: Mapping[str, Any]) -> _Rules:
        assert set(rules) <= {"stabilizationWindowSeconds", "policies"}, rules
        policies = tuple(
            _Policy(
                {"Percent": True, "Pods": False}[one["type"]], one["value"], one["periodSeconds"]
            )
            for one in rules["policies"]
        )
        return cls(rules["stabilizationWindowSeconds"], policies)


@dataclass
class PodAutoscaler:
    """``targets``: usage for which each trigger asks for one pod."""

    least: int
    most: int
    targets: tuple[float, ...]
    up: _Rules
    down: _Rules
    changes: list[PodChange] = field(default_factory=list)
    """oldest first"""
    _wishes: list[tuple[float, int]] = field(default_factory=list)

    @classmethod
    def of(cls, scaled: Mapping[str, Any]) -> PodAutoscaler:
        """Of a rendered ScaledObject."""
        spec = scaled["spec"]
        behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        return cls(
            spec["minReplicaCount"],
            spec["maxReplicaCount"],
            tuple(float(one["metadata"]["threshold"]) for one in spec["triggers"]),
            _Rules.of(behavior["scaleUp"]),
            _Rules.of(behavior["scaleDown"]),
        )

    def decide(self, now_s: float, pods: int, usages: Sequence[float]) -> int:
        """The pods that there shall be of ``pods``; ``usages``: the answer of each trigger's query."""
        if not self.least <= pods <= self.most:
            after = min(max(pods, self.least), self.most)
        else:
            wish = max(map(_wish, [pods] * len(usages), usages, self.targets))
            after = self._bounded(now_s, pods, self._stable(now_s, pods, wish))
        if after != pods:
            self.changes.append(PodChange(now_s, pods, after))
        return after

    def _stable(self, now_s: float, pods: int, wish: int) -> int:
        """No more than the least wish of the window up, no fewer than the largest of the window down."""
        if not self._wishes:  # > the controller takes what it finds for the first wish
            self._wishes.append((now_s, pods))
        self._wishes.append((now_s, wish))
        lowest = min(_within(self._wishes, now_s - self.up.window_s), default=wish)
        highest = max(_within(self._wishes, now_s - self.down.window_s), default=wish)
        return min(max(pods, min(wish, lowest)), max(wish, highest))

    def _bounded(self, now_s: float, pods: int, wish: int) -> int:
        """By the policies, of which the one that allows the most change is in force, and by both ends."""
        if wish > pods:
            limit = max(one.limit(self._start(now_s, pods, one), 1) for one in self.up.policies)
            return min(wish, self.most, max(limit, pods))
        if wish < pods:
            limit = min(one.limit(self._start(now_s, pods, one), -1) for one in self.down.policies)
            return max(wish, self.least, min(limit, pods))
        return pods

    def _start(self, now_s: float, pods: int, policy: _Policy) -> int:
        """Pods at the begin of the policy's period."""
        return pods - sum(
            one.after - one.before for one in self.changes if one.at_s > now_s - policy.period_s
        )


def _wish(pods: int, usage: float, target: float) -> int:
    if abs(usage / (target * pods) - 1) <= TOLERANCE:
        return pods
    return math.ceil(usage / target)


def _within(wishes: Iterable[tuple[float, int]], cutoff_s: float) -> list[int]:
    return [wish for at_s, wish in wishes if at_s > cutoff_s]
