"""Engines that trust a wall clock, or assume small offsets (broken/variants.py)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np

from streams.core.rows import built_in_tables as rows
from streams.dev.simulation.variant import Variant
from streams.engine.identities.seen_events import SeenEvents
from streams.engine.runtime.jobs.job_partition import JobPartition
from streams.engine.runtime.partition.partition import Partition
from streams.engine.state.log_time import LogTimes
from streams.engine.state.outcomes import Outcomes
from streams.engine.windows.minutes.emission import EmissionQueues

_SLACK_MS = 60_000
_FRESH_MS = 10_000


@contextmanager
def _ids_expire_by_the_latest_append() -> Iterator[None]:
    """The horizon is the highest append time ever seen, minus the TTL."""
    admit: Any = SeenEvents.admit

    def admitted(
        self: Any, hi: Any, lo: Any, payload: Any, append_ms: Any, log: LogTimes, owners: Any = None
    ) -> Any:
        highest_ms = np.maximum.accumulate(np.r_[getattr(self, "highest_ms", 0), append_ms])
        self.highest_ms = highest_ms[-1]
        log = LogTimes(append_ms, highest_ms[1:] - self._ttl_ms - _SLACK_MS)
        return admit(self, hi, lo, payload, append_ms, log, owners)

    with patch.object(SeenEvents, "admit", admitted):
        yield


@contextmanager
def _outcomes_expire_by_the_latest_append() -> Iterator[None]:
    """The same for outcomes."""
    request_of = JobPartition._request

    def request(self: Any, *arguments: Any) -> Any:
        made = request_of(self, *arguments)
        self.highest_ms = max(getattr(self, "highest_ms", 0), made.append_ms)
        made.log_ms = made.append_ms
        made.horizon_ms = self.highest_ms - self.outcomes._ttl_ms - _SLACK_MS
        return made

    with (
        patch.object(JobPartition, "_request", request),
        patch.object(Outcomes, "passed", lambda self, horizon_ms: None),
    ):
        yield


@contextmanager
def _live_rows_by_the_workers_clock() -> Iterator[None]:
    """Open windows are shown while the last record is recent by the worker's clock."""
    take = Partition.take_emissions

    def taken(self: Partition, *arguments: Any) -> Any:
        age_ms = self.clock.now_ms() - self.progress.last_append_ms
        self.backlog.reading = age_ms > _FRESH_MS
        return take(self, *arguments)

    with patch.object(Partition, "take_emissions", taken):
        yield


@contextmanager
def _rows_of_a_backlog_forgotten() -> Iterator[None]:
    """Windows skipped during a backlog are shown only at their next change or their end."""
    with patch.object(EmissionQueues, "_recall", lambda self: None):
        yield


@contextmanager
def _forty_bits_for_offsets() -> Iterator[None]:
    with (
        patch.object(rows, "OFFSET_BITS", 40),
        patch.object(rows, "OFFSET_END", (1 << 40) - 1),
    ):
        yield


BROKEN_CLOCKS: Mapping[str, Variant] = {
    "ids_expire_by_the_latest_append": _ids_expire_by_the_latest_append,
    "live_rows_by_the_workers_clock": _live_rows_by_the_workers_clock,
    "rows_of_a_backlog_forgotten": _rows_of_a_backlog_forgotten,
    "forty_bits_for_offsets": _forty_bits_for_offsets,
}
BROKEN_JOB_CLOCKS: Mapping[str, Variant] = {
    "outcomes_expire_by_the_latest_append": _outcomes_expire_by_the_latest_append,
}
