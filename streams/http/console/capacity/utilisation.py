"""What each worker process used lately, from its samples in ``usage_history``."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Final, NamedTuple

from streams.http.console.shards import Rows

SPAN_S: Final = 1800
PROCESSES_MAX: Final = 200

USAGE: Final = """
SELECT process, toUnixTimestamp(started) AS began, toUnixTimestamp(w) AS at, max(cpu_s),
    max(memory_bytes), max(behind_s), max(fill)
FROM usage_history_local FINAL
WHERE toUnixTimestamp(w) >= {since:Int64}
GROUP BY process, began, at
"""


class _Sample(NamedTuple):
    at_s: int
    cpu_s: float
    memory_bytes: int
    behind_s: float
    fill: float


def processes(rows: Rows) -> list[dict[str, Any]]:
    """Busiest first, of at most `PROCESSES_MAX`. ``cpu`` is the share of one processor between the
    first and the last sample; None of one sample alone. ``fill`` (1: its bound) and ``behind_s`` are
    the largest."""
    samples: dict[tuple[str, int], list[_Sample]] = defaultdict(list)
    for process, began, *sample in rows:
        samples[process, began].append(_Sample(*sample))
    found = [_of(process, sorted(each)) for (process, _), each in samples.items()]
    return sorted(found, key=lambda one: -(one["cpu"] or 0.0))[:PROCESSES_MAX]


def _of(process: str, samples: list[_Sample]) -> dict[str, Any]:
    first, last = samples[0], samples[-1]
    span_s = last.at_s - first.at_s
    return {
        "process": process,
        "cpu": (last.cpu_s - first.cpu_s) / span_s if span_s else None,
        "memory_bytes": last.memory_bytes,
        "behind_s": max(one.behind_s for one in samples),
        "fill": max(one.fill for one in samples),
        "at_ms": 1000 * last.at_s,
    }
