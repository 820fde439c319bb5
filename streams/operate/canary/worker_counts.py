"""What one worker has counted since it started, from its metrics port."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from streams.core.telemetry.declaring import PREFIX

LATE_S: Final = 10.0
"""The freshness objective of ops/prometheus/rules/slo.yaml; a bound of FRESHNESS_BUCKETS_S."""

_STARTED = "process_start_time_seconds"
_BUILD = PREFIX + "build_info"
_ROWS = PREFIX + "freshness_seconds_count"
_WITHIN = PREFIX + "freshness_seconds_bucket"
_READ = PREFIX + "records_read_total"
_DEAD = PREFIX + "dead_letters_total"
_COMMITS = PREFIX + "commits_total"
_FAILURES = PREFIX + "commit_failures_total"
_USED = frozenset({_STARTED, _BUILD, _ROWS, _WITHIN, _READ, _DEAD, _COMMITS, _FAILURES})


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerCounts:
    """``rows`` became visible, ``late`` of them after more than `LATE_S`. ``dead``: dead letters by
    code. ``started_s``: epoch seconds, 0 where the system does not say."""

    version: str = ""
    started_s: float = 0.0
    rows: int = 0
    late: int = 0
    read: int = 0
    dead: Mapping[str, int] = field(default_factory=dict)
    commits: int = 0
    commit_failures: int = 0

    def since(self, before: WorkerCounts) -> WorkerCounts:
        """What the same process has counted since ``before``."""
        return WorkerCounts(
            version=self.version,
            started_s=self.started_s,
            rows=self.rows - before.rows,
            late=self.late - before.late,
            read=self.read - before.read,
            dead={code: n - before.dead.get(code, 0) for code, n in self.dead.items()},
            commits=self.commits - before.commits,
            commit_failures=self.commit_failures - before.commit_failures,
        )


def read_counts(text: str) -> WorkerCounts:
    """Raises `ValueError` unless ``text`` is the metrics of a process of dia."""
    sums: Counter[str] = Counter()
    dead: Counter[str] = Counter()
    version, within = "", 0
    for name, labels, value in _samples(text):
        if name == _BUILD:
            version = labels["version"]
        elif name == _WITHIN:
            within += int(value) if float(labels["le"]) == LATE_S else 0
        elif name == _DEAD:
            dead[labels["error_code"]] += int(value)
        else:
            sums[name] += value  # type: ignore[assignment]  # counts come as floats
    if not version:
        raise ValueError(f"no sample {_BUILD}")
    return WorkerCounts(
        version=version,
        started_s=sums[_STARTED],
        rows=int(sums[_ROWS]),
        late=int(sums[_ROWS]) - within,
        read=int(sums[_READ]),
        dead=dict(dead),
        commits=int(sums[_COMMITS]),
        commit_failures=int(sums[_FAILURES]),
    )


def _samples(text: str) -> Iterator[tuple[str, Mapping[str, str], float]]:
    """Those in use; a worker exposes ten times as many."""
    wanted = "".join(
        line
        for line in text.splitlines(keepends=True)
        if line.partition("{")[0].partition(" ")[0] in _USED
    )
    for family in text_string_to_metric_families(wanted):
        sample: Sample
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value
