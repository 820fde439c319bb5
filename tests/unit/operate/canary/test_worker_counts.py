"""A worker's counts are those that its metrics port shows."""

from __future__ import annotations

import pytest
from prometheus_client import generate_latest

from streams.core.telemetry.metrics import FRESHNESS_BUCKETS_S, Metrics
from streams.operate.canary.worker_counts import LATE_S, read_counts


def _text(metrics: Metrics) -> str:
    return generate_latest(metrics.registry).decode()


def test_counts_are_summed_over_partitions_and_codes_are_kept():
    """A sample that is renamed or relabelled would be read as 0, which looks healthy."""
    metrics = Metrics(version="2.0", process="worker")
    for number in ("0", "1"):
        metrics.intake.records_read.labels("t", number).inc(50)
        metrics.commit.commits.labels("t", number).inc(5)
    metrics.intake.dead_letters.labels("t", "bad_json").inc(2)
    metrics.intake.dead_letters.labels("u", "bad_json").inc(1)
    metrics.commit.failures.labels("producer_fenced").inc(3)
    for seconds in (0.2, 9.9, 10.1, 5000.0):
        metrics.sink.freshness_seconds.observe(seconds)
    found = read_counts(_text(metrics))
    assert (found.version, found.read, found.commits) == ("2.0", 100, 10)
    assert (found.dead, found.commit_failures) == ({"bad_json": 3}, 3)
    assert (found.rows, found.late) == (4, 2)
    assert found.started_s > 0


def test_the_limit_of_late_rows_is_a_bound_of_the_buckets():
    """Between two bounds the late rows could not be counted."""
    assert LATE_S in FRESHNESS_BUCKETS_S


def test_a_page_of_something_else_is_refused():
    """A proxy's error page would be read as a worker that counts nothing."""
    with pytest.raises(ValueError, match="build_info"):
        read_counts("<html>502</html>\n")
