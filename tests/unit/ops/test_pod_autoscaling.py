"""What the chart asks of KEDA and of Kubernetes, in virtual time: `PodAutoscaler` stands in for both."""

from __future__ import annotations

import pytest

from tests.faults.pods.pod_autoscaler import PodAutoscaler, PodChange
from tests.unit.ops.chart import kind, render, values

SYNC_S = 15
"""Kubernetes' default"""


def _scaled(**autoscaling):
    [found] = kind(
        render({**values("plain"), "autoscaling": {"by": "lag", **autoscaling}}), "ScaledObject"
    )
    return found


def _run(scaled, behind_s, pods=3):
    """``behind_s``: the answer of the query at each sync."""
    autoscaler = PodAutoscaler.of(scaled)
    for number, behind in enumerate(behind_s):
        pods = autoscaler.decide(SYNC_S * number, pods, [behind])
    return autoscaler.changes


def test_pods_double_each_half_minute_and_halve_each_minute():
    """Seed 002's figures: 3 to 10 pods, 100 % in 30 s, 50 % in 60 s; the windows before them spare rebalances."""
    changes = _run(_scaled(), [600] * 20 + [0] * 80)
    assert changes == [
        PodChange(60, 3, 6),
        PodChange(90, 6, 10),
        PodChange(285 + 900, 10, 5),
        PodChange(285 + 960, 5, 3),
    ]


@pytest.mark.parametrize(
    "behind_s",
    [[0, 600, 600, 600] * 20, [44] * 80, [0] * 80],
    ids=["peaks of less than a minute", "a lag that three pods answer for", "no lag"],
)
def test_a_change_needs_a_lag_that_lasts(behind_s):
    """Each change moves partitions, which are restored."""
    assert _run(_scaled(), behind_s) == []


def test_a_lag_of_a_minute_is_answered():
    """A pod more is asked for while the lag is within the minute that an operator is promised."""
    assert _run(_scaled(), [60] * 10)[0] == PodChange(60, 3, 4)


def test_pods_beyond_the_bounds_come_back_at_once():
    """An operator who scales by hand meets the bounds, whatever the lag says."""
    assert _run(_scaled(maxReplicas=5), [0], pods=9) == [PodChange(0, 9, 5)]
    assert _run(_scaled(minReplicas=2), [600], pods=1) == [PodChange(0, 1, 2)]
