"""The gap of a rebalance: the additional delay of probes."""

from __future__ import annotations

import numpy as np
import pytest

from streams.core.errors import UsageError
from streams.dev.bench.cases.case import Case, paced
from streams.dev.bench.cases.rebalance import gap_s

DUE_MS = np.array([1000.0, 2000.0, 3000.0, 4000.0])


def test_the_gap_is_the_longest_wait_since_less_the_usual_one():
    """Probes wait for a commit interval with or without a rebalance."""
    delays_s = np.array([0.9, 1.1, 3.5, 1.0])
    assert gap_s(DUE_MS, delays_s, joined_ms=2500.0) == pytest.approx(2.45)


@pytest.mark.parametrize(
    ("delays", "joined_ms"),
    [([1.0, 1.0, 1.0], 2500.0), ([1.0] * 4, 500.0), ([1.0] * 4, 9000.0)],
)
def test_without_both_sides_there_is_no_gap(delays, joined_ms):
    """Without a probe on each side the delay is unknown."""
    assert gap_s(DUE_MS, np.array(delays), joined_ms) is None


def test_a_rebalance_needs_probes():
    """Only a paced run has probes; its name marks it as another case."""
    with pytest.raises(UsageError, match="needs --rate"):
        Case(workload="narrow", rebalance=True)
    case = paced(Case(workload="narrow"), 1000, 5, rebalance=True, commit_interval_s=0.1)
    assert case.name.endswith("1 proc, one more joins, 2 shards, clickhouse, commits every 0.1 s")
