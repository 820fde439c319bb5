"""The result of a console load, as a record and as a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec
import numpy as np

from streams.dev.bench.processes import ProcessCost
from streams.dev.bench.report.machine import Machine

FORMAT = 1
ALL: Final = "all"
P95_MAX_MS: Final = 200.0


class Times(msgspec.Struct, frozen=True, kw_only=True):
    """In milliseconds from the request to the last byte of the answer."""

    path: str
    requests: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


class Lag(msgspec.Struct, frozen=True, kw_only=True):
    """Sent and uncommitted events: medians of the run's second and last quarter, the maximum, and
    the rest two commit intervals after the last event. ``grew``: the last median exceeds the other
    by more than a commit interval of events, or a rest remained."""

    second_quarter: int
    last_quarter: int
    most: int
    at_end: int
    grew: bool


class ConsoleLoad(msgspec.Struct, frozen=True, kw_only=True):
    """``times`` begin with all paths together, without the stream's first event. ``errors`` by path
    and status. ``console_ms_per_request`` is CPU time."""

    format: int = FORMAT
    started_at: str
    machine: Machine
    versions: dict[str, str]
    case: str
    readers: int
    seconds: int
    rate_per_s: int
    exact: bool
    differences: list[str]
    times: list[Times]
    errors: dict[str, int]
    unchanged: int
    events: int
    console_ms_per_request: float
    processes: list[ProcessCost]
    readers_cpu_s: float
    others_cores: float
    sender_late_s: float
    lag: Lag

    @property
    def p95_ms(self) -> float:
        return self.times[0].p95_ms

    @property
    def held(self) -> bool:
        """All answers in time while the pipeline kept up."""
        return self.exact and not self.errors and not self.lag.grew and self.p95_ms < P95_MAX_MS


def times_of(seconds: Mapping[str, Sequence[float]], apart: str) -> list[Times]:
    """All paths together without ``apart``, then each, slowest first."""
    every = [one for path, found in seconds.items() if path != apart for one in found]
    each = [_times(path, found) for path, found in seconds.items() if found]
    return [_times(ALL, every), *sorted(each, key=lambda one: -one.p95_ms)]


def _times(path: str, seconds: Sequence[float]) -> Times:
    p50, p95, p99, most = np.quantile(
        np.array(seconds) * 1000, (0.5, 0.95, 0.99, 1.0), method="inverted_cdf"
    ).tolist()
    return Times(
        path=path,
        requests=len(seconds),
        p50_ms=round(p50, 1),
        p95_ms=round(p95, 1),
        p99_ms=round(p99, 1),
        max_ms=round(most, 1),
    )


def lag_of(lags: Sequence[int], at_end: int, commit_events: float) -> Lag:
    """``lags`` were sampled evenly; ``commit_events`` come within a commit interval."""
    quarter = max(1, len(lags) // 4)
    second = int(np.median(lags[quarter : 2 * quarter] or lags or [0]))
    last = int(np.median(lags[-quarter:] or [0]))
    return Lag(
        second_quarter=second,
        last_quarter=last,
        most=max(lags, default=0),
        at_end=at_end,
        grew=last > second + commit_events or at_end > 0,
    )


def markdown(found: ConsoleLoad) -> Iterator[str]:
    errors = sum(found.errors.values())
    yield (
        f"{found.readers} readers for {found.seconds} s while {found.rate_per_s:,} events/s came "
        f"({found.case}): p95 **{found.p95_ms:g} ms**, {errors} errors, "
        f"{found.console_ms_per_request:g} ms of CPU a request, {found.events:,} events of streams."
    )
    yield (
        f"Lag in the second quarter {found.lag.second_quarter:,}, in the last "
        f"{found.lag.last_quarter:,}, at the end {found.lag.at_end:,}; the sender was "
        f"{found.sender_late_s:g} s late, and all else kept {found.others_cores:g} cores busy."
    )
    yield ""
    yield "| path | requests | p50 ms | p95 ms | p99 ms | max ms |"
    yield "|---|---:|---:|---:|---:|---:|"
    for one in found.times:
        yield (
            f"| {one.path} | {one.requests:,} | {one.p50_ms:g} | {one.p95_ms:g} | {one.p99_ms:g} "
            f"| {one.max_ms:g} |"
        )
    yield ""
    for error, count in sorted(found.errors.items()):
        yield f"- {error}: {count}"
    for difference in found.differences:
        yield f"- not exact: {difference}"
